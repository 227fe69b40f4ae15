package master

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
)

// Explain says what would become now of a connection from an address, an IP
// address or "uid:USER", of one service or with "" of each. It changes nothing.
func (m *Master) Explain(ctx context.Context, address, name string) (control.Explained, error) {
	peer, err := explainedPeer(address)
	if err != nil {
		return control.Explained{}, err
	}
	e := control.Explained{Services: []control.Explanation{}}
	var unknown error
	err = m.ask(ctx, func() {
		services := m.services
		if name != "" {
			var s *service
			if s, unknown = m.named(name); unknown != nil {
				return
			}
			services = []*service{s}
		}
		now := time.Now()
		for _, s := range services {
			x := s.explain(peer, now)
			if m.stateOf(s, 1) == stateDraining {
				x.Outcome, x.Reason, x.By, x.Until = control.OutcomeRefused, admit.Draining.String(), "drain", nil
			}
			x.Address = address
			e.Services = append(e.Services, x)
		}
	})
	if err == nil {
		err = unknown
	}
	return e, err
}

// explainedPeer returns whom an address stands for.
func explainedPeer(address string) (admit.Peer, error) {
	if !strings.HasPrefix(address, "uid:") {
		addr, err := netip.ParseAddr(address)
		if err != nil {
			return admit.Peer{}, control.Errorf(control.Invalid, "address %q: must be an IP address, or uid: and a user for unix sockets", address)
		}
		return admit.Peer{Addr: addr}, nil
	}
	set, err := config.ParsePeerSet(address)
	if err != nil {
		return admit.Peer{}, control.Errorf(control.Invalid, "address %q: %v", address, err)
	}
	uid, err := set.ID()
	if err != nil {
		return admit.Peer{}, control.Errorf(control.Invalid, "address %q: %v", address, err)
	}
	// Rules for groups go by the group that a process runs with, which for a
	// user is at first the one of the account. The highest number is nobody's.
	p := admit.Peer{UID: uid, GID: math.MaxUint32}
	if account, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		if gid, err := strconv.ParseUint(account.Gid, 10, 32); err == nil {
			p.GID = uint32(gid)
		}
	}
	return p, nil
}

// explain says what the service's gate would decide, and by what.
func (s *service) explain(peer admit.Peer, now time.Time) control.Explanation {
	d := s.gate.Explain(peer, now)
	x := control.Explanation{
		Service: s.Name, Source: d.Source.String(), Live: max(d.Live-1, 0), EarlyDrop: d.EarlyDrop,
		Outcome: [...]string{admit.Admitted: control.OutcomeAdmitted, admit.Refused: control.OutcomeRefused, admit.Wait: control.OutcomeWaits}[d.Outcome],
		By:      s.decisive(&d),
	}
	if d.Outcome != admit.Admitted {
		x.Reason = d.Reason.String()
	}
	if !d.Until.IsZero() {
		x.Until = &d.Until
	}
	_, believed := s.proxies.Lookup(peer)
	switch {
	case believed:
		x.Note = "it has to send a PROXY header, and the client that it names is the one that limits and rules are about"
	case d.Spared:
		x.Note = "a penalty would refuse it but for penalty-dry-run"
	}
	return x
}

// decisive names the rule or limit by which a decision was made, as it is
// configured; nothing when there is none.
func (s *service) decisive(d *admit.Decision) string {
	var configured *rule
	entry, of := "", ""
	if d.Rule != nil {
		configured, _ = d.Rule.Effect.(*rule)
		entry = "allow " + d.Rule.Text
		if configured != nil {
			entry = "rule for " + d.Rule.Text
		}
		if d.Rule.Limits != nil {
			of = ", " + entry
		}
	}
	if d.Outcome == admit.Admitted {
		return entry
	}
	switch d.Reason {
	case admit.Denied:
		if d.Rule == nil {
			return "allow, on which it is not"
		}
		return "deny " + d.Rule.Text
	case admit.MaxConnectionsPerSource:
		return fmt.Sprintf("max-connections-per-source %d%s", d.Limits.MaxConnections, of)
	case admit.RatePerSource:
		rate := s.RatePerSource
		if configured != nil && configured.RatePerSource != nil {
			rate = *configured.RatePerSource
		}
		return fmt.Sprintf("rate-per-source %v%s", rate, of)
	case admit.RateOfService:
		return fmt.Sprintf("rate %v", s.Rate)
	case admit.EarlyDrop:
		return fmt.Sprintf("random-early-drop %v", s.RandomEarlyDrop)
	case admit.MaxConnections:
		return fmt.Sprintf("max-connections %d", s.MaxConnections)
	}
	return d.Reason.String()
}

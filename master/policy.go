package master

import (
	"fmt"
	"math"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
)

// policyOf returns what a service's gate decides by. It looks up the users and
// groups that address rules name. rules are what the rules mean to connections,
// in the order of the service's.
func policyOf(s *config.Service, rules []*rule, once bool) (admit.Policy, error) {
	p := admit.Policy{
		MaxConnections: s.MaxConnections,
		Wait:           s.Overflow == config.OverflowWait,
		V4Bits:         s.SourcePrefixV4,
		V6Bits:         s.SourcePrefixV6,
		MaxSources:     s.MaxSources,
		Rate:           rateOf(s.Rate, s.Burst),
		Limits:         admit.Limits{MaxConnections: s.MaxConnectionsPerSource, Rate: rateOf(s.RatePerSource, s.BurstPerSource)},
		Drop:           admit.Drop(s.RandomEarlyDrop),
	}
	if once {
		// One slot, which is never free again: it is the slot that keeps a
		// second client waiting, however late the loop hears of the first.
		p.MaxConnections, p.Wait, p.Drop = 1, true, admit.Drop{}
	}
	var err error
	if p.Rules, err = rulesOf(s, rules); err != nil {
		return p, err
	}
	if len(s.PenaltyExitCodes)+len(s.PenaltySignals) > 0 {
		p.Penalties = admit.Penalties{First: s.Penalty, Max: s.PenaltyMax, Growth: s.PenaltyGrowth, DryRun: s.PenaltyDryRun}
		p.Penalties.Exempt, err = peersOf(s.PenaltyExempt)
	}
	return p, err
}

func rateOf(r config.Rate, burst int) admit.Rate {
	if !r.IsLimit() {
		return admit.Rate{}
	}
	if burst == 0 {
		burst = r.Count
	}
	return admit.Rate{Interval: r.Per / time.Duration(r.Count), Burst: burst}
}

func rulesOf(s *config.Service, effects []*rule) (*admit.Rules, error) {
	var rules admit.Rules
	each := func(peers []config.PeerSet, add func(admit.Match, string)) error {
		for _, p := range peers {
			m, err := matchOf(p)
			if err != nil {
				return err
			}
			add(m, p.String())
		}
		return nil
	}
	if err := each(s.Allow, rules.Allow); err != nil {
		return nil, fmt.Errorf("allow %w", err)
	}
	if err := each(s.Deny, rules.Deny); err != nil {
		return nil, fmt.Errorf("deny %w", err)
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		if err := each(r.From, func(m admit.Match, text string) {
			if r.Action == config.ActionDeny {
				rules.Deny(m, text)
			} else {
				rules.Add(m, &admit.Rule{Limits: limitsOf(s, r), Effect: effects[i], Text: text})
			}
		}); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return &rules, nil
}

// limitsOf returns the limits of a rule: its own, and the service's for those
// that it does not have; nil when it has none.
func limitsOf(s *config.Service, r *config.Rule) *admit.Limits {
	if r.MaxConnectionsPerSource == nil && r.RatePerSource == nil && r.BurstPerSource == nil {
		return nil
	}
	most, rate, burst := s.MaxConnectionsPerSource, s.RatePerSource, s.BurstPerSource
	if r.MaxConnectionsPerSource != nil {
		most = *r.MaxConnectionsPerSource
	}
	if r.RatePerSource != nil {
		rate, burst = *r.RatePerSource, 0
	}
	if r.BurstPerSource != nil {
		burst = *r.BurstPerSource
	}
	return &admit.Limits{MaxConnections: most, Rate: rateOf(rate, burst)}
}

// peersOf returns a set of peers, nil for none.
func peersOf(list []config.PeerSet) (*admit.Peers[struct{}], error) {
	if len(list) == 0 {
		return nil, nil
	}
	var peers admit.Peers[struct{}]
	for _, p := range list {
		m, err := matchOf(p)
		if err != nil {
			return nil, err
		}
		peers.Put(m, struct{}{})
	}
	return &peers, nil
}

func matchOf(p config.PeerSet) (admit.Match, error) {
	if p.Prefix.IsValid() {
		return admit.Match{Prefix: p.Prefix}, nil
	}
	if p.Unix == config.UnixAll {
		return admit.Match{}, nil
	}
	id, err := p.ID()
	if err != nil {
		return admit.Match{}, fmt.Errorf("%v: %w", p, err)
	}
	if p.Unix == config.UnixGID {
		return admit.Match{GID: &id}, nil
	}
	return admit.Match{UID: &id}, nil
}

// peerOf returns who asks for a connection.
func peerOf(conn *listen.Conn) admit.Peer {
	if conn.IsUnix() {
		return admit.Peer{UID: conn.Credentials.Uid, GID: conn.Credentials.Gid}
	}
	return admit.Peer{Addr: conn.Peer.Addr()}
}

// socketOptions returns the options of a service's listeners.
func socketOptions(s *config.Service) (listen.Options, error) {
	o := listen.Options{
		NoDelay:      s.NoDelay,
		Keepalive:    s.Keepalive,
		DeferAccept:  s.DeferAccept,
		Backlog:      s.Backlog,
		ReusePort:    s.ReusePort,
		FreeBind:     s.FreeBind,
		BindToDevice: s.BindToDevice,
		V6Only:       s.V6Only,
		Mode:         -1,
	}
	if s.SocketMode.Set {
		o.Mode = int(s.SocketMode.Bits & math.MaxInt16)
	}
	var err error
	if o.UID, o.GID, err = s.SocketIdentity(); err != nil {
		return o, fmt.Errorf("socket owner: %w", err)
	}
	return o, nil
}

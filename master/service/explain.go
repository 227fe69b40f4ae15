package service

import (
	"fmt"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/control"
)

// Explain says what the service would do now with a connection of a peer, and
// by which rule or limit. It changes nothing.
func (s *Service) Explain(peer admit.Peer, now time.Time) control.Explanation {
	spec := s.Spec()
	d := s.Gate.Explain(peer, now)
	x := control.Explanation{
		Service: s.Name, Source: d.Source.String(), Live: max(d.Live-1, 0), EarlyDrop: d.EarlyDrop,
		Outcome: [...]string{admit.Admitted: control.OutcomeAdmitted, admit.Refused: control.OutcomeRefused, admit.Wait: control.OutcomeWaits}[d.Outcome],
		By:      spec.decidingRule(&d),
	}
	if log, byRule := spec.logBy(effectOf(d.Rule)); byRule {
		x.Log, x.LogBy = string(log), "rule for "+d.Rule.Text
	} else {
		x.Log = string(log)
	}
	if d.Outcome != admit.Admitted {
		x.Reason = d.Reason.String()
	}
	if !d.Until.IsZero() {
		x.Until = &d.Until
	}
	switch {
	case spec.BelievesProxy(peer):
		x.Note = "it has to send a PROXY header, and the client that it names is the one that limits and rules are about"
	case d.PenaltyDryRun:
		x.Note = "a penalty would refuse it but for penalty-dry-run"
	}
	return x
}

// decidingRule names the rule or limit by which a decision was made, as it is
// configured; "" when there is none.
func (s *Spec) decidingRule(d *admit.Decision) string {
	configured := effectOf(d.Rule)
	entry, of := "", ""
	if d.Rule != nil {
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

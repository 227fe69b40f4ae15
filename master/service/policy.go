package service

import (
	"fmt"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
)

// policy returns what a service's gate decides by. rules are the effects of the
// service's address rules, in their order.
func (l *lookups) policy(s *config.Service, rules []*Rule, once bool) (admit.Policy, error) {
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
		// One slot, which is never free again: the slot keeps a second client
		// waiting, however late the loop hears of the first one.
		p.MaxConnections, p.Wait, p.Drop = 1, true, admit.Drop{}
	}
	var err error
	if p.Rules, err = l.rules(s, rules); err != nil {
		return p, err
	}
	if s.HasPenalties() {
		p.Penalties = admit.Penalties{First: s.Penalty, Max: s.PenaltyMax, Growth: s.PenaltyGrowth, DryRun: s.PenaltyDryRun}
		p.Penalties.Exempt, err = l.peers(s.PenaltyExempt)
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

func (l *lookups) rules(s *config.Service, effects []*Rule) (*admit.Rules, error) {
	var rules admit.Rules
	each := func(peers []config.PeerSet, add func(admit.Match, string)) error {
		for _, p := range peers {
			m, err := l.match(p)
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
				rules.Add(m, &admit.Rule{Deny: true, Effect: effects[i], Text: text})
			} else {
				rules.Add(m, &admit.Rule{Limits: limitsOf(s, r), Effect: effects[i], Text: text})
			}
		}); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	if len(s.Allow)+len(s.Deny)+len(s.Rules) == 0 {
		return nil, nil // everybody
	}
	return &rules, nil
}

// limitsOf returns the limits of a rule: its own ones, and the service's for
// those that it does not have; nil when it has none of its own.
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

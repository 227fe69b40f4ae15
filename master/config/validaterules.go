package config

import "strconv"

// validatePeers looks up the accounts that lists of peers name.
func (s *Service) validatePeers(v validator) {
	for key, list := range map[string][]PeerSet{
		"allow": s.Allow, "deny": s.Deny, "penalty-exempt": s.PenaltyExempt, "proxy-protocol": s.ProxyProtocol,
	} {
		v.accounts(key, list)
	}
}

func (v validator) accounts(key string, list []PeerSet) {
	for i, p := range list {
		if p.Account == "" {
			continue
		}
		if _, err := p.ID(); err != nil {
			v.bad(key+"["+strconv.Itoa(i)+"]", p.String(), "%v", err)
		}
	}
}

func (r *Rule) validate(v validator, s *Service) {
	v.accounts("from", r.From)
	v.variables(r.Env)
	for key, set := range map[string]bool{
		"env": len(r.Env) > 0, "program": len(r.Program) > 0, "max-connections-per-source": r.MaxConnectionsPerSource != nil,
		"rate-per-source": r.RatePerSource != nil, "burst-per-source": r.BurstPerSource != nil,
		"max-lifetime": r.MaxLifetime != nil, "idle-timeout": r.IdleTimeout != nil,
	} {
		if set && r.Action == ActionDeny {
			v.mistakes.add(v.at.of(key), "%s%s: means nothing in a rule that denies", v.scope, key)
		}
	}
	rate := s.RatePerSource
	if r.RatePerSource != nil {
		rate = *r.RatePerSource
	}
	if r.BurstPerSource != nil && *r.BurstPerSource > 0 && !rate.IsLimit() {
		v.bad("burst-per-source", *r.BurstPerSource, "there is no rate-per-source")
	}
	if len(r.Program) > 0 && s.Handler != "" {
		v.bad("program", r.Program[0], "the service has a handler; a rule's program takes the place of a program")
	}
	if r.IdleTimeout != nil && *r.IdleTimeout > 0 && s.Handoff != HandoffWorker {
		v.bad("idle-timeout", *r.IdleTimeout, "only workers with handoff worker know when a connection is idle")
	}
}

// validateRuleSets finds peers that two rules speak of: neither would be the
// more specific one.
func (s *Service) validateRuleSets(v validator) {
	first := map[PeerSet]int{}
	for i := range s.Rules {
		for j, p := range s.Rules[i].From {
			if by, taken := first[p]; taken {
				v.mistakes.add(s.Rules[i].at.of("from["+strconv.Itoa(j)+"]", "from"), "%srule %d: from %s: rule %d is about the same",
					v.scope, i+1, quoted(p.String()), by+1)
				continue
			}
			first[p] = i
		}
	}
}

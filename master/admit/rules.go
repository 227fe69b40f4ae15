package admit

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Peers is a table of values by peer. Its entries are IP prefixes, and users,
// groups or all of the peers of unix sockets. It is filled first. When it is
// only read, several goroutines may use it at once. The zero Peers is empty.
type Peers[V any] struct {
	prefixes bart.Table[V]
	uids     map[uint32]V
	gids     map[uint32]V
	unix     *V
}

// A Match describes the peers of an entry.
type Match struct {
	Prefix   netip.Prefix // of IP peers
	UID, GID *uint32      // of unix peers; if both are nil, all unix peers
}

// Get returns the value of the entry with exactly this Match.
func (t *Peers[V]) Get(m Match) (v V, ok bool) {
	switch {
	case m.Prefix.IsValid():
		return t.prefixes.Get(m.Prefix)
	case m.UID != nil:
		v, ok = t.uids[*m.UID]
	case m.GID != nil:
		v, ok = t.gids[*m.GID]
	case t.unix != nil:
		return *t.unix, true
	}
	return v, ok
}

// Put sets the value of an entry. Prefixes must be masked and not v4-mapped.
func (t *Peers[V]) Put(m Match, v V) {
	switch {
	case m.Prefix.IsValid():
		t.prefixes.Insert(m.Prefix, v)
	case m.UID != nil:
		if t.uids == nil {
			t.uids = map[uint32]V{}
		}
		t.uids[*m.UID] = v
	case m.GID != nil:
		if t.gids == nil {
			t.gids = map[uint32]V{}
		}
		t.gids[*m.GID] = v
	default:
		t.unix = &v
	}
}

// Lookup returns the value of the most specific entry for a peer. For an IP
// address this is the entry with the longest prefix. At a unix socket the
// user's entry comes first, then the group's, then the one for all. A nil table
// has no entries.
func (t *Peers[V]) Lookup(p Peer) (v V, ok bool) {
	if t == nil {
		return v, false
	}
	if !p.IsUnix() {
		return t.prefixes.Lookup(p.unmapped().Addr)
	}
	if v, ok = t.uids[p.UID]; ok {
		return v, true
	}
	if v, ok = t.gids[p.GID]; ok {
		return v, true
	}
	if t.unix != nil {
		return *t.unix, true
	}
	return v, false
}

// A Rule is the policy for some peers.
type Rule struct {
	Deny bool
	// Limits take the place of the service's. If it is nil, the service's
	// apply.
	Limits *Limits
	// Effect is what else the rule means to the caller. It is nil for an entry
	// of an allow or deny list.
	Effect any
	// Text is the entry as it is written in the configuration.
	Text string
}

// hasEffect reports whether the rule does more than allow or deny.
func (r *Rule) hasEffect() bool { return r.Limits != nil || r.Effect != nil }

// Rules says who may connect, and with what limits. It is filled first and only
// read afterwards, like Peers.
type Rules struct {
	table Peers[*Rule]
	// denyOthers says that peers without an entry are denied.
	denyOthers bool
}

// Allow adds an entry that allows peers. With such an entry, peers without any
// entry are denied.
func (r *Rules) Allow(m Match, text string) {
	r.denyOthers = true
	r.add(m, &Rule{Text: text})
}

// Deny adds an entry that denies peers.
func (r *Rules) Deny(m Match, text string) { r.add(m, &Rule{Deny: true, Text: text}) }

// Add adds a rule. It does not change the policy for other peers.
func (r *Rules) Add(m Match, rule *Rule) { r.add(m, rule) }

// add keeps one of two entries for the same peers: the one that denies. If both do,
// or none, it keeps the one that has an effect.
func (r *Rules) add(m Match, rule *Rule) {
	if old, ok := r.table.Get(m); ok && (old.Deny && !rule.Deny || old.Deny == rule.Deny && !rule.hasEffect()) {
		return
	}
	r.table.Put(m, rule)
}

// Decide returns whether a peer may connect, and the rule for the peer. The
// rule is nil if there is none. Nil Rules allow everybody.
func (r *Rules) Decide(p Peer) (rule *Rule, allowed bool) {
	if r == nil {
		return nil, true
	}
	rule, ok := r.table.Lookup(p)
	if !ok {
		return nil, !r.denyOthers
	}
	return rule, !rule.Deny
}

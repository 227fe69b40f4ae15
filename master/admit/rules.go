package admit

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Peers is a table of values by peer: IP prefixes, and users, groups or all of
// the peers of unix sockets. It is filled first and only read afterwards; then
// it is safe for concurrent use. The zero Peers is empty.
type Peers[V any] struct {
	prefixes bart.Table[V]
	uids     map[uint32]V
	gids     map[uint32]V
	unix     *V
}

// A Match says how the peers of an entry are described.
type Match struct {
	Prefix   netip.Prefix // of IP peers
	UID, GID *uint32      // of unix peers; both nil: all of them
}

// Get returns the value of exactly this entry.
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

// Lookup returns the value of the most specific entry that a peer falls under:
// of the longest prefix; at a unix socket of the user before the group before
// all. A nil table has no entries.
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

// A Rule is what holds for some peers.
type Rule struct {
	Deny bool
	// Limits take the place of the service's; nil: the service's hold.
	Limits *Limits
	// Effect is what the rule means to the caller beyond that; nil for an
	// entry of a list, which allows or denies and does nothing more.
	Effect any
	// Text is the entry as a person wrote it.
	Text string
}

func (r *Rule) saysMore() bool { return r.Limits != nil || r.Effect != nil }

// Rules says who may connect, and with what limits. Like Peers it is filled
// first and only read afterwards.
type Rules struct {
	table Peers[*Rule]
	// closed: whoever falls under no entry is denied.
	closed bool
}

// Allow adds an entry that allows. Once there is one, whoever falls under no
// entry at all is denied.
func (r *Rules) Allow(m Match, text string) {
	r.closed = true
	r.add(m, &Rule{Text: text})
}

// Deny adds an entry that denies.
func (r *Rules) Deny(m Match, text string) { r.add(m, &Rule{Deny: true, Text: text}) }

// Add adds a rule. It does not change what happens to others.
func (r *Rules) Add(m Match, rule *Rule) { r.add(m, rule) }

// add keeps, of two entries for the same peers, the one that denies; or else
// the one that says more.
func (r *Rules) add(m Match, rule *Rule) {
	if old, ok := r.table.Get(m); ok && (old.Deny || !rule.Deny && !rule.saysMore()) {
		return
	}
	r.table.Put(m, rule)
}

// Decide returns whether a peer may connect and the rule that says so, which is
// nil when the peer falls under none. Nil Rules allow everybody.
func (r *Rules) Decide(p Peer) (rule *Rule, allowed bool) {
	if r == nil {
		return nil, true
	}
	rule, ok := r.table.Lookup(p)
	if !ok {
		return nil, !r.closed
	}
	return rule, !rule.Deny
}

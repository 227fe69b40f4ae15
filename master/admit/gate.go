package admit

import (
	"math"
	"sync"
	"time"
)

// A Gate holds the slots of one service and decides who gets them. It is safe
// for concurrent use: accept goroutines take slots, the master's loop gives
// them back.
type Gate struct {
	start  time.Time
	random func() float64

	// mu guards all that follows.
	mu       sync.Mutex
	policy   Policy
	reserved int           // for connections that are being accepted
	held     int           // by connections
	slots    *Slot         // those that are held, in a list
	sources  *sources      // their counts, and what is remembered of others
	bucket   bucket        // of the service
	freed    chan struct{} // closed when a slot may be free; nil when nobody waits
	refused  [Reasons]uint64
	lost     uint64 // penalties that found no room
}

// A Slot is the right to one live connection. Whoever holds it gives it back
// with Release, once.
type Slot struct {
	peer       Peer
	source     Source
	next, prev *Slot
	gate       *Gate // nil once it is given back
}

// Source returns what the slot is counted for.
func (s *Slot) Source() Source { return s.source }

// NewGate returns a gate. start is the beginning of its time; random returns
// numbers from 0 to less than 1 and may be called by several goroutines.
func NewGate(p Policy, start time.Time, random func() float64) *Gate {
	return &Gate{start: start, random: random, policy: p, sources: newSources()}
}

// An Outcome is what becomes of a connection.
type Outcome uint8

const (
	Admitted Outcome = iota // it has a slot
	Refused                 // it is to be closed
	Wait                    // it may have a slot once Freed says so, if it asks again
)

// A Decision is what a gate says to a connection, and why.
type Decision struct {
	Outcome Outcome
	Slot    *Slot  // when admitted
	Live    int    // connections of the source, this one included
	Rule    *Rule  // that the peer falls under, or nil
	Source  Source // that the peer belongs to
	Reason  Reason // when refused
	// Until is when the reason will have passed, if that can be known.
	Until time.Time
	// EarlyDrop is how likely such a connection is refused at random.
	EarlyDrop float64
	// Limits are those that hold for the source.
	Limits Limits
	// Spared says that a penalty until Until would have refused the
	// connection if it were not for the dry run.
	Spared bool
}

// now turns a time into the gate's own. It is never 0, which in a source's
// state stands for long ago.
func (g *Gate) now(t time.Time) int64 { return max(int64(t.Sub(g.start)), 0) + 1 }

func (g *Gate) time(t int64) time.Time { return g.start.Add(time.Duration(t - 1)) }

// Reserve asks for the right to accept a connection. It fails when there is no
// slot and connections are to wait. It is followed by Admit or Cancel.
func (g *Gate) Reserve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policy.Wait && g.held+g.reserved >= g.policy.MaxConnections {
		return false
	}
	g.reserved++
	return true
}

// Cancel gives a reservation back that no connection came for.
func (g *Gate) Cancel() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unreserve()
}

func (g *Gate) unreserve() {
	if g.reserved == 0 {
		panic("admit: more reservations given back than were made")
	}
	g.reserved--
	g.wake()
}

// Admit decides about a connection and uses up its reservation, if it has one.
// A connection that has none, because its peer had to be found out first, can
// be told to wait; one that has can be too when the limit was lowered meanwhile.
// Nothing that is refused or waits uses up any rate.
func (g *Gate) Admit(p Peer, now time.Time, reserved bool) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.now(now)
	if reserved {
		g.reserved--
		defer g.wake() // the reservation has become a slot, or is free
	}
	g.sources.sweep(t, int64(g.policy.Penalties.Max), g.policy.MaxSources)
	d := g.decide(p, t, g.random)
	switch {
	case d.Outcome == Refused:
		g.refused[d.Reason]++
	case d.Outcome == Admitted:
		g.hold(p, &d, t)
	}
	return d
}

// Explain returns what Admit would say now, and changes nothing. Where Admit
// throws dice it says how they are loaded, and what follows if they fall well.
func (g *Gate) Explain(p Peer, now time.Time) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.decide(p, g.now(now), func() float64 { return math.Nextafter(1, 0) })
}

// decide goes through the reasons for a refusal from the most to the least
// lasting one, so that a client hears what it has to do about it.
func (g *Gate) decide(p Peer, now int64, random func() float64) Decision {
	policy := &g.policy
	d := Decision{Outcome: Refused, Source: SourceOf(p, policy.V4Bits, policy.V6Bits)}
	rule, allowed := policy.Rules.Decide(p)
	d.Rule = rule
	if !allowed {
		d.Reason = Denied
		return d
	}
	var state sourceState
	if i := g.sources.find(d.Source); i != 0 {
		state = g.sources.states[i]
	}
	d.Live = int(state.live) + 1
	if state.until > now && !policy.Penalties.exempts(p) {
		d.Until = g.time(state.until)
		if !policy.Penalties.DryRun {
			d.Reason = Penalized
			return d
		}
		d.Spared = true
	}
	d.Limits = policy.limits(rule)
	d.EarlyDrop = policy.Drop.chance(g.held)
	if d.EarlyDrop > 0 && random() < d.EarlyDrop {
		d.Reason = EarlyDrop
		return d
	}
	limits := &d.Limits
	if limits.MaxConnections > 0 && int(state.live) >= limits.MaxConnections {
		d.Reason = MaxConnectionsPerSource
		return d
	}
	if ready := state.bucket.ready(limits.Rate, now); ready > now {
		d.Reason, d.Until = RatePerSource, g.time(ready)
		return d
	}
	if ready := g.bucket.ready(policy.Rate, now); ready > now {
		d.Reason, d.Until = RateOfService, g.time(ready)
		return d
	}
	if g.held >= policy.MaxConnections {
		d.Reason = MaxConnections
		if policy.Wait {
			d.Outcome = Wait
		}
		return d
	}
	d.Outcome = Admitted
	return d
}

func (p *Policy) limits(rule *Rule) Limits {
	if rule != nil && rule.Limits != nil {
		return *rule.Limits
	}
	return p.Limits
}

// hold gives a slot to a peer that is admitted.
func (g *Gate) hold(p Peer, d *Decision, now int64) {
	d.Slot = &Slot{peer: p, source: d.Source, gate: g, next: g.slots}
	if g.slots != nil {
		g.slots.prev = d.Slot
	}
	g.slots = d.Slot
	g.held++
	g.bucket = g.bucket.take(g.policy.Rate, now)
	st := g.live(d.Source)
	st.bucket = st.bucket.take(g.policy.limits(d.Rule).Rate, now)
}

// live counts one more connection of a source.
func (g *Gate) live(source Source) *sourceState {
	i := g.sources.find(source)
	if i == 0 {
		i = g.sources.add(source)
	}
	g.sources.move(i, listNone)
	st := &g.sources.states[i]
	st.live++
	return st
}

// Release gives a slot back.
func (g *Gate) Release(s *Slot, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.sources.find(s.source)
	if s.gate != g || i == 0 || g.sources.states[i].live == 0 {
		panic("admit: a slot was released that nobody holds")
	}
	s.gate = nil
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		g.slots = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	g.held--
	st := &g.sources.states[i]
	if st.live--; st.live == 0 {
		g.sources.settle(i, g.now(now), int64(g.policy.Penalties.Max), g.policy.MaxSources)
	}
	g.wake()
}

// Freed returns a channel that is closed once there may be a slot, which may be
// right now. Several may wait for the same slot; those that come late find
// that there is none and wait again. A new policy wakes all of them.
func (g *Gate) Freed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.full() {
		return closed
	}
	if g.freed == nil {
		g.freed = make(chan struct{})
	}
	return g.freed
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (g *Gate) full() bool { return g.policy.Wait && g.held+g.reserved >= g.policy.MaxConnections }

func (g *Gate) wake() {
	if g.freed != nil && !g.full() {
		close(g.freed)
		g.freed = nil
	}
}

// Counts is what a gate has counted.
type Counts struct {
	Held, Reserved, Limit int
	Refused               [Reasons]uint64
	Sources               int    // that something is remembered of
	Penalized             int    // of those, with a penalty
	LostPenalties         uint64 // for want of room for more
}

// Counts returns the counts as of now.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Counts{
		Held: g.held, Reserved: g.reserved, Limit: g.policy.MaxConnections, Refused: g.refused,
		Sources: len(g.sources.index), Penalized: g.sources.penalized, LostPenalties: g.lost,
	}
}

// Refuse counts a connection that was refused before Admit was asked.
func (g *Gate) Refuse(r Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused[r]++
}

// Total is the sum of the refusals.
func (c *Counts) Total() (n uint64) {
	for _, r := range c.Refused {
		n += r
	}
	return n
}

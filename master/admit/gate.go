package admit

import (
	"math"
	"sync"
	"time"
)

// A Gate holds the slots of one service and decides who gets them. Several
// goroutines may use it at once: accept goroutines take slots, and the master's
// loop releases them.
type Gate struct {
	start  time.Time
	random func() float64

	// mu guards all that follows.
	mu            sync.Mutex
	policy        Policy
	reserved      int           // slots for connections that are being accepted
	held          int           // slots of connections
	slots         *Slot         // the slots that are held, as a list
	sources       sources       // the live connections and the history of each source
	bucket        bucket        // of the service
	slotFreed     chan struct{} // closed when a slot may be free; nil when nobody waits
	onSlotFreed   []func()      // called then
	refused       [Reasons]uint64
	lostPenalties uint64 // penalties for which there was no room
}

// A Slot is the right to one live connection. Its holder must call Release
// exactly once.
type Slot struct {
	peer       Peer
	source     Source
	next, prev *Slot
	gate       *Gate // nil after the release
}

// Source returns the source that holds the slot.
func (s *Slot) Source() Source { return s.source }

// Peer returns the client that holds the slot.
func (s *Slot) Peer() Peer { return s.peer }

// NewGate returns a gate. The times that its methods get are measured from
// start. The function random must return numbers from 0 to less than 1, and
// several goroutines may call it at once.
func NewGate(p Policy, start time.Time, random func() float64) *Gate {
	return &Gate{start: start, random: random, policy: p}
}

// An Outcome is what happens to a connection.
type Outcome uint8

const (
	Admitted Outcome = iota // the connection has a slot
	Refused                 // the caller must close the connection
	Wait                    // the caller must call Admit again after SlotFreed
)

// A Decision is what a gate has decided about a connection, and why.
type Decision struct {
	Outcome Outcome
	Slot    *Slot  // if it is admitted
	Live    int    // live connections of the source, with this one
	Rule    *Rule  // the rule that applies to the peer, or nil
	Source  Source // the source of the peer
	Reason  Reason // if it is refused
	// Until is the time when the reason will have passed, if that is known.
	Until time.Time
	// EarlyDrop is the probability that such a connection is refused at random.
	EarlyDrop float64
	// Limits are the limits of the source.
	Limits Limits
	// PenaltyDryRun says that the source has a penalty until Until. The gate
	// would have refused the connection without Penalties.DryRun.
	PenaltyDryRun bool
}

// now converts a time to the gate's own. The result is never 0, because 0 in
// the state of a source means long ago.
func (g *Gate) now(t time.Time) int64 { return max(int64(t.Sub(g.start)), 0) + 1 }

func (g *Gate) time(t int64) time.Time { return g.start.Add(time.Duration(t - 1)) }

// Reserve reserves a slot for a connection that the caller wants to accept. It
// returns false when no slot is free and the policy says that connections wait.
// The caller must then call Admit or Cancel.
func (g *Gate) Reserve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policy.Wait && g.held+g.reserved >= g.policy.MaxConnections {
		return false
	}
	g.reserved++
	return true
}

// Cancel gives back a reservation for which no connection has come.
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

// Admit decides about a connection. If the connection has a reservation, Admit
// uses it up. A connection has none if its peer had to be determined first.
// Such a connection can get the outcome Wait. With a reservation that happens
// only if the limit was lowered meanwhile. Only admitted connections count for
// a rate.
func (g *Gate) Admit(p Peer, now time.Time, reserved bool) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.now(now)
	if reserved {
		g.reserved--
		defer g.wake() // the reservation has become a slot, or its place is free
	}
	g.sources.expireSome(t, int64(g.policy.Penalties.Max), g.policy.MaxSources)
	d := g.decide(p, t, g.random)
	switch {
	case d.Outcome == Refused:
		g.refused[d.Reason]++
	case d.Outcome == Admitted:
		g.takeSlot(p, &d, t)
	}
	return d
}

// Explain returns what Admit would decide now. It changes nothing. Where Admit
// uses a random number, Explain returns the probability in EarlyDrop, and
// decides as if the connection had not been dropped.
func (g *Gate) Explain(p Peer, now time.Time) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.decide(p, g.now(now), func() float64 { return math.Nextafter(1, 0) })
}

// decide checks the reasons for a refusal, from the most lasting to the least
// lasting. So the client learns the reason that it can do something about.
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
		d.PenaltyDryRun = true
	}
	d.Limits = policy.limits(rule)
	d.EarlyDrop = policy.Drop.probability(g.held)
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

// limits returns the limits of a source to which this rule applies.
func (p *Policy) limits(rule *Rule) Limits {
	if rule != nil && rule.Limits != nil {
		return *rule.Limits
	}
	return p.Limits
}

// takeSlot gives a slot to a peer that is admitted.
func (g *Gate) takeSlot(p Peer, d *Decision, now int64) {
	var st *sourceState
	d.Slot, st = g.holdSlot(p, d.Source)
	g.bucket = g.bucket.take(g.policy.Rate, now)
	st.bucket = st.bucket.take(g.policy.limits(d.Rule).Rate, now)
}

// holdSlot adds a slot to those that are held.
func (g *Gate) holdSlot(p Peer, source Source) (*Slot, *sourceState) {
	s := &Slot{peer: p, source: source, gate: g, next: g.slots}
	if g.slots != nil {
		g.slots.prev = s
	}
	g.slots = s
	g.held++
	return s, g.addLive(source)
}

// addLive counts one more live connection of a source.
func (g *Gate) addLive(source Source) *sourceState {
	i := g.sources.find(source)
	if i == 0 {
		i = g.sources.add(source)
	}
	g.sources.move(i, listNone)
	st := &g.sources.states[i]
	st.live++
	return st
}

// Release gives back a slot. It panics if the slot is not held.
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
		g.sources.reclassify(i, g.now(now), int64(g.policy.Penalties.Max), g.policy.MaxSources)
	}
	g.wake()
}

// SlotFreed returns a channel that is closed as soon as there may be a free
// slot. It may be closed already. Several goroutines may wait for the same
// slot. Those that find it taken must wait again. A new policy wakes all of
// them.
func (g *Gate) SlotFreed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.full() {
		return closedChannel
	}
	if g.slotFreed == nil {
		g.slotFreed = make(chan struct{})
	}
	return g.slotFreed
}

// OnSlotFreed calls f once, as soon as there may be a free slot, which may be now. f may
// be called by any goroutine, with the gate locked. A new policy calls it, too.
func (g *Gate) OnSlotFreed(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.full() {
		f()
		return
	}
	g.onSlotFreed = append(g.onSlotFreed, f)
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (g *Gate) full() bool { return g.policy.Wait && g.held+g.reserved >= g.policy.MaxConnections }

func (g *Gate) wake() {
	if (g.slotFreed != nil || len(g.onSlotFreed) > 0) && !g.full() {
		g.wakeAll()
	}
}

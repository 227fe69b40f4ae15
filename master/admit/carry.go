package admit

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/preforkd/preforkd/master/carry"
)

// What is not carried:
//
//   - Gate.policy, which the configuration says;
//   - Gate.reserved: nobody accepts during an export;
//   - Gate.held and sourceState.live, which RestoreSlot counts again, so that they
//     cannot differ from the slots that there are (GateState.Held only checks it);
//   - Gate.slotFreed and onSlotFreed: whoever waits for a slot begins to wait again.

// A GateState is a Gate in the state that a master hands to the next one. Times are in
// nanoseconds after Start, as the gate has them; 0 is long ago.
type GateState struct {
	Start         carry.Moment      `json:"start"`
	Held          int               `json:"held"` // slots that are exported beside
	Bucket        int64             `json:"bucket"`
	Refused       map[string]uint64 `json:"refused,omitempty"` // by reason
	LostPenalties uint64            `json:"lost_penalties,omitempty"`
	Sources       []byte            `json:"sources,omitempty"` // see appendSource
}

// A SlotState is a Slot in the state that a master hands to the next one.
type SlotState struct {
	Addr string `json:"addr,omitempty"` // "" for a unix peer
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
}

// Export returns the state of the gate. Its slots are exported by their holders.
func (g *Gate) Export() GateState {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := GateState{
		Start:         carry.At(g.start),
		Held:          g.held,
		Bucket:        int64(max(g.bucket, 0)),
		LostPenalties: g.lostPenalties,
		Sources:       g.sources.export(),
	}
	for reason, n := range g.refused {
		if n > 0 {
			if s.Refused == nil {
				s.Refused = map[string]uint64{}
			}
			s.Refused[reasonNames[reason]] = n
		}
	}
	return s
}

// RestoreGate makes a gate again, without its slots: each comes back by RestoreSlot, and
// CheckRestored says whether all have. The policy must have the prefix lengths that the
// gate had. For now and random see NewGate.
func RestoreGate(s *GateState, p Policy, now time.Time, random func() float64) (*Gate, error) {
	g := NewGate(p, s.Start.Time(), random)
	switch {
	case g.start.IsZero() || g.start.After(now):
		return nil, fmt.Errorf("a gate of moment %d, and it is moment %d", s.Start, carry.At(now))
	case s.Bucket < 0 || s.Held < 0:
		return nil, fmt.Errorf("a gate with bucket %d and %d slots", s.Bucket, s.Held)
	}
	g.bucket, g.lostPenalties = bucket(s.Bucket), s.LostPenalties
	for name, n := range s.Refused {
		reason, err := reasonOf(name)
		if err != nil {
			return nil, err
		}
		g.refused[reason] = n
	}
	if err := g.sources.restore(s.Sources); err != nil {
		return nil, err
	}
	return g, nil
}

func reasonOf(name string) (Reason, error) {
	for reason, n := range reasonNames {
		if n == name {
			return Reason(reason), nil
		}
	}
	return 0, fmt.Errorf("there is no reason %q for a refusal", name)
}

// Export returns the state of the slot, nil after its release and for no slot.
func (s *Slot) Export() *SlotState {
	if s == nil || s.gate == nil {
		return nil
	}
	state := &SlotState{UID: s.peer.UID, GID: s.peer.GID}
	if !s.peer.IsUnix() {
		state.Addr = s.peer.Addr.String()
	}
	return state
}

// RestoreSlot gives a slot back to its holder.
func (g *Gate) RestoreSlot(s *SlotState) (*Slot, error) {
	peer := Peer{UID: s.UID, GID: s.GID}
	if s.Addr != "" {
		var err error
		if peer.Addr, err = netip.ParseAddr(s.Addr); err != nil {
			return nil, fmt.Errorf("the peer of a slot: %w", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	source := SourceOf(peer, g.policy.V4Bits, g.policy.V6Bits)
	if i := g.sources.find(source); i == 0 || g.sources.states[i].list != listNone {
		return nil, fmt.Errorf("a slot of source %v, which has no live connection", source)
	}
	slot, _ := g.holdSlot(peer, source)
	return slot, nil
}

// CheckRestored returns an error if the slots that came back are not those that were
// held.
func (g *Gate) CheckRestored(s *GateState) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != s.Held {
		return fmt.Errorf("%d slots were held, and %d have come back", s.Held, g.held)
	}
	for source, i := range g.sources.index {
		if st := &g.sources.states[i]; st.list == listNone && st.live == 0 {
			return fmt.Errorf("source %v has no live connection, and had one", source)
		}
	}
	return nil
}

// A RefusalsState are Refusals in the state that a master hands to the next one. Times
// are in nanoseconds after Start; 0 is long ago.
type RefusalsState struct {
	Start   carry.Moment    `json:"start"`
	Reasons []ReasonRefusal `json:"reasons,omitempty"`
}

// A ReasonRefusal is what Refusals know of one reason.
type ReasonRefusal struct {
	Reason     string `json:"reason"`
	Bucket     int64  `json:"bucket"`
	Suppressed uint64 `json:"suppressed,omitempty"`
	First      int64  `json:"first,omitempty"` // when the first one was suppressed
}

// Export returns the state of the refusals.
func (l *Refusals) Export() RefusalsState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := RefusalsState{Start: carry.At(l.start)}
	if l.reasons == nil {
		return s
	}
	for reason, r := range l.reasons {
		if r != (refusalsOf{}) {
			s.Reasons = append(s.Reasons, ReasonRefusal{reasonNames[reason], int64(r.bucket), r.suppressed, r.first})
		}
	}
	return s
}

// Restore makes zero Refusals what others were.
func (l *Refusals) Restore(s *RefusalsState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = s.Start.Time()
	for _, of := range s.Reasons {
		reason, err := reasonOf(of.Reason)
		switch {
		case err != nil:
			return err
		case s.Start == 0 || of.Bucket < 0 || of.First < 0:
			return fmt.Errorf("refusals for %s at no time", of.Reason)
		}
		if l.reasons == nil {
			l.reasons = new([Reasons]refusalsOf)
		}
		if l.reasons[reason] != (refusalsOf{}) {
			return fmt.Errorf("refusals for %s twice", of.Reason)
		}
		l.reasons[reason] = refusalsOf{bucket(of.Bucket), of.Suppressed, of.First}
	}
	return nil
}

// A CongestionState is a Congestion in the state that a master hands to the next one.
type CongestionState struct {
	Since      carry.Moment  `json:"since,omitempty"`
	Over       time.Duration `json:"over,omitempty"`
	Told       carry.Moment  `json:"told,omitempty"`
	Telling    bool          `json:"telling,omitempty"`
	Suppressed uint64        `json:"suppressed,omitempty"`
}

// Export returns the state of the congestion.
func (c *Congestion) Export() CongestionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CongestionState{carry.At(c.since), c.over, carry.At(c.told), c.telling, c.suppressed}
}

// Restore makes a zero Congestion what another one was.
func (c *Congestion) Restore(s *CongestionState) error {
	if s.Over < 0 || s.Telling && s.Since == 0 {
		return errors.New("a congestion that has no beginning")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.over, c.told, c.telling, c.suppressed = s.Since.Time(), s.Over, s.Told.Time(), s.Telling, s.Suppressed
	return nil
}

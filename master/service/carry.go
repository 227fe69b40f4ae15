package service

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/redact"
)

// What is not carried:
//
//   - of a Spec: what is started, its environment, its box, its resolved addresses. The
//     configuration is compiled again, and what differs from it starts nothing any more;
//   - that a Spec has the box of an observation (InBox): no observation is carried, and
//     workers in such a box serve no other connection;
//   - of a Service: its loggers, and who waits for its drain (Drained);
//   - of a Connection: what follows from its Spec, its rule and its two ends, and the
//     privacy policy, of which the master has one.

// A State is a Service in the state that a master hands to the next one. Its workers,
// connections and listeners are exported by their rooms.
type State struct {
	Name           string                `json:"name"`
	Spec           int                   `json:"spec"` // in force
	Generation     uint64                `json:"generation"`
	Draining       bool                  `json:"draining,omitempty"`
	Gate           admit.GateState       `json:"gate"`
	Ledger         ledger.State          `json:"ledger"`
	Refusals       admit.RefusalsState   `json:"refusals"`
	Congestion     admit.CongestionState `json:"congestion"`
	IdleUnknown    *IdleUnknownState     `json:"idle_unknown,omitempty"`
	MissingTold    []string              `json:"missing_told,omitempty"` // keys of the box
	UnconfinedTold bool                  `json:"unconfined_told,omitempty"`
}

// An IdleUnknownState is an IdleUnknown in a State.
type IdleUnknownState struct {
	Reason string `json:"reason,omitempty"` // "" for none
	Logged bool   `json:"logged"`
}

// A ConnectionState is a Connection in the state that a master hands to the next one.
type ConnectionState struct {
	ID           string           `json:"id"`
	Spec         int              `json:"spec"`
	Slot         *admit.SlotState `json:"slot,omitempty"` // nil: it was given back
	Conn         listen.ConnState `json:"conn"`           // its fd is that of File
	Accepted     carry.Moment     `json:"accepted"`
	Live         int              `json:"live"`           // connections of its source when it came
	Rule         int              `json:"rule,omitempty"` // the number of its address rule from 1, 0 for none
	AcceptLogged bool             `json:"accept_logged,omitempty"`
}

// Export returns the state of the connection. It keeps File if that is open.
func (c *Connection) Export(d *carry.Descriptors, specs *SpecRecorder) ConnectionState {
	s := ConnectionState{
		ID:           c.ID,
		Spec:         specs.Number(c.Spec),
		Slot:         c.Slot.Export(),
		Conn:         c.conn.Describe(),
		Accepted:     carry.At(c.Accepted),
		Live:         c.live,
		Rule:         slices.Index(c.Spec.rules, c.rule) + 1,
		AcceptLogged: c.acceptLogged,
	}
	if c.File != nil {
		s.Conn.FD = d.Keep(int(c.File.Fd())) // which says -1 if it is closed
	}
	return s
}

// RestoreConnection makes the connection again, with its slot. Its File is nil if it was
// not open. Its service must be there (RestoreService).
func RestoreConnection(s *ConnectionState, d *carry.Descriptors, specs *RestoredSpecs, p *redact.Policy) (*Connection, error) {
	c, err := restoreConnection(s, d, specs, p)
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", s.ID, err)
	}
	return c, nil
}

func restoreConnection(s *ConnectionState, d *carry.Descriptors, specs *RestoredSpecs, p *redact.Policy) (*Connection, error) {
	spec, err := specs.Spec(s.Spec)
	switch {
	case err != nil:
		return nil, err
	case s.ID == "" || s.Accepted == 0 || s.Live < 1:
		return nil, fmt.Errorf("it has no id, was never accepted, or is one of %d of its source", s.Live)
	case s.Rule < 0 || s.Rule > len(spec.rules):
		return nil, fmt.Errorf("service %s has %d rules, and rule %d applies", spec.Name, len(spec.rules), s.Rule)
	}
	conn, err := listen.RestoreConn(&s.Conn, d)
	if err != nil {
		return nil, err
	}
	var rule *Rule
	if s.Rule > 0 {
		rule = spec.rules[s.Rule-1]
	}
	c := newConnection(spec, conn, rule, s.ID, p)
	c.Accepted, c.live, c.acceptLogged = s.Accepted.Time(), s.Live, s.AcceptLogged
	if conn.FD >= 0 {
		c.File = os.NewFile(uintptr(conn.FD), connectionFile)
	}
	if s.Slot != nil {
		if c.Slot, err = spec.service.Gate.RestoreSlot(s.Slot); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Export returns the state of the service.
func (s *Service) Export(specs *SpecRecorder) State {
	state := State{
		Name:           s.Name,
		Spec:           specs.Number(s.Spec().source()),
		Generation:     s.Generation,
		Draining:       s.Draining(),
		Gate:           s.Gate.Export(),
		Ledger:         s.Ledger.Export(),
		Refusals:       s.Refusals.Export(),
		Congestion:     s.Congestion.Export(),
		MissingTold:    slices.Sorted(maps.Keys(s.missingTold)),
		UnconfinedTold: s.unconfinedTold.Load(),
	}
	if u := &s.IdleUnknown; u.logged || u.reason != nil {
		state.IdleUnknown = &IdleUnknownState{Logged: u.logged}
		if u.reason != nil {
			state.IdleUnknown.Reason = u.reason.Error()
		}
	}
	return state
}

// RestoreService makes the service again, and the one that all Specs of its name belong
// to. Its slots come back with its connections; CheckRestored says whether all have.
func RestoreService(s *State, specs *RestoredSpecs, log *zap.Logger) (*Service, error) {
	svc, err := restoreService(s, specs, log)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.Name, err)
	}
	return svc, nil
}

func restoreService(s *State, specs *RestoredSpecs, log *zap.Logger) (*Service, error) {
	spec, err := specs.inForce(s.Name, s.Spec)
	if err != nil {
		return nil, err
	}
	svc := newService(s.Name, log)
	if svc.Gate, err = admit.RestoreGate(&s.Gate, spec.policy, time.Now(), rand.Float64); err != nil {
		return nil, err
	}
	if err := errors.Join(svc.Ledger.Restore(&s.Ledger), svc.Refusals.Restore(&s.Refusals), svc.Congestion.Restore(&s.Congestion)); err != nil {
		return nil, err
	}
	if err := svc.Totals().Check(); err != nil {
		return nil, err
	}
	if u := s.IdleUnknown; u != nil {
		svc.IdleUnknown.logged = u.Logged
		if u.Reason != "" {
			svc.IdleUnknown.reason = errors.New(u.Reason)
		}
	}
	for _, key := range s.MissingTold {
		if svc.missingTold == nil {
			svc.missingTold = map[string]bool{}
		}
		svc.missingTold[key] = true
	}
	svc.unconfinedTold.Store(s.UnconfinedTold)
	svc.Generation = s.Generation
	svc.spec.Store(spec)
	if s.Draining {
		svc.Drain()
	}
	specs.setOwner(svc)
	return svc, nil
}

// CheckRestored returns an error if the slots that have come back with connections are
// not those that were held.
func (s *Service) CheckRestored(state *State) error {
	if err := s.Gate.CheckRestored(&state.Gate); err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	return nil
}

// An IDsState are the IDs in the state that a master hands to the next one.
type IDsState struct {
	Prefix string `json:"prefix"`
	Last   uint64 `json:"last"`
}

// Export returns the state of the ids.
func (s *IDs) Export() IDsState { return IDsState{s.prefix, s.last.Load()} }

// RestoreIDs returns ids that go on where others have ended.
func RestoreIDs(s *IDsState) (*IDs, error) {
	start, dashed := strings.CutSuffix(s.Prefix, "-")
	if _, err := strconv.ParseInt(start, 36, 64); err != nil || !dashed {
		return nil, fmt.Errorf("%q is not how an id of a connection begins", s.Prefix)
	}
	ids := &IDs{prefix: s.Prefix}
	ids.last.Store(s.Last)
	return ids, nil
}

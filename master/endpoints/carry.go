package endpoints

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/systemd"
)

// What of a Set does not go over to the program that takes over:
//
//   - the attic: Shelve makes another one there
//   - closed: a master that stops does not hand over

// A State is a Set in the state that a master hands to the next one.
type State struct {
	Order []string `json:"order"` // of the services, as they are configured
	// Listeners are those in force, in that order.
	Listeners []ListenerState `json:"listeners"`
	// Replaced are not in force any more. Each has an heir that is.
	Replaced       []ListenerState `json:"replaced"`
	Passed         []SocketState   `json:"passed"`
	Stored         []SocketState   `json:"stored"`
	BarrierPending bool            `json:"barrier_pending"`
	ShelveFailed   bool            `json:"shelve_failed"` // and the log has said so
}

// A ListenerState is a Listener in the state that a master hands to the next one.
type ListenerState struct {
	Service  string               `json:"service"` // whose Spec it accepts for
	Socket   listen.ListenerState `json:"socket"`
	Endpoint EndpointState        `json:"endpoint"`
	Options  listen.Options       `json:"options"`
	Origin   string               `json:"origin"`
	Stored   bool                 `json:"stored"`
	Lost     bool                 `json:"lost"`
	Heir     int                  `json:"heir"` // its place in State.Listeners, -1 for none
	Replaced carry.Moment         `json:"replaced"`
}

// An EndpointState is what a listener was opened for.
type EndpointState struct {
	Path    []byte     `json:"path"`
	Host    string     `json:"host"`
	IP      netip.Addr `json:"ip"`
	Port    uint16     `json:"port"`
	Service string     `json:"service"`
	Nth     int        `json:"nth"`
	Passed  bool       `json:"passed"`
}

// A SocketState is a socket that systemd passed at the start of the process.
type SocketState struct {
	Service string   `json:"service"` // for a stored one the name of its endpoint
	Name    string   `json:"name"`
	FD      carry.FD `json:"fd"`
}

// Export returns the state of the set. The sockets of many listeners get copies in the
// table of the process, until DropCopies, which the caller calls on error, too.
func (s *Set) Export(d *carry.Descriptors) (State, error) {
	st := State{
		Order: append([]string{}, s.order...), Listeners: []ListenerState{}, Replaced: []ListenerState{},
		Passed: exportSockets(d, s.inherited.passed), Stored: exportSockets(d, s.inherited.stored),
		BarrierPending: s.barrierPending, ShelveFailed: s.attic.failed,
	}
	place := map[*Listener]int{}
	for _, l := range s.All() {
		place[l] = len(st.Listeners)
		exported, err := l.export(d, -1)
		if err != nil {
			return State{}, err
		}
		st.Listeners = append(st.Listeners, exported)
	}
	for _, l := range s.replaced {
		heir, found := place[l.heir]
		if !found {
			return State{}, fmt.Errorf("hand over listener %s: nobody has its address now", l.Local())
		}
		exported, err := l.export(d, heir)
		if err != nil {
			return State{}, err
		}
		st.Replaced = append(st.Replaced, exported)
	}
	return st, nil
}

// DropCopies ends what Export has begun, because no other program takes over.
func (s *Set) DropCopies() {
	for _, l := range append(s.All(), s.replaced...) {
		l.DropCopy()
	}
}

func (l *Listener) export(d *carry.Descriptors, heir int) (ListenerState, error) {
	socket, err := l.Export(d)
	if err != nil {
		return ListenerState{}, err
	}
	return ListenerState{
		Service: l.Spec().Name, Socket: socket, Options: l.options, Origin: l.origin, Stored: l.stored, Lost: l.lost,
		Endpoint: l.endpoint.export(), Heir: heir, Replaced: carry.At(l.replaced),
	}, nil
}

func (e endpoint) export() EndpointState {
	return EndpointState{
		Path: []byte(e.address.Path), Host: e.address.Host, IP: e.address.IP, Port: e.address.Port,
		Service: e.service, Nth: e.nth, Passed: e.passed,
	}
}

func (e *EndpointState) endpoint() endpoint {
	return endpoint{
		address: config.Address{Path: string(e.Path), Host: e.Host, IP: e.IP, Port: e.Port},
		service: e.Service, nth: e.Nth, passed: e.Passed,
	}
}

func exportSockets(d *carry.Descriptors, sockets map[string][]systemd.Socket) []SocketState {
	states := []SocketState{}
	for _, key := range slices.Sorted(maps.Keys(sockets)) {
		for _, socket := range sockets[key] {
			states = append(states, SocketState{Service: key, Name: socket.Name, FD: d.Keep(socket.FD)})
		}
	}
	return states
}

// Restore gives an empty set what another one had. Nothing is bound, and no socket or
// file is touched, also by Commit, until Touch. specs returns the Spec that a service has, nil if there is no such
// service.
func (s *Set) Restore(st *State, d *carry.Descriptors, specs func(service string) *service.Spec) error {
	s.restored = true
	var err error
	if s.inherited.passed, err = restoreSockets(st.Passed, d); err != nil {
		return err
	}
	if s.inherited.stored, err = restoreSockets(st.Stored, d); err != nil {
		return err
	}
	s.barrierPending, s.attic.failed = st.BarrierPending, st.ShelveFailed
	known := make(map[string]bool, len(st.Order))
	for _, name := range st.Order {
		if known[name] {
			return fmt.Errorf("service %s comes twice", name)
		}
		known[name] = true
		s.order = append(s.order, name)
	}
	inForce := make([]*Listener, 0, len(st.Listeners))
	for i := range st.Listeners {
		l, err := s.restoreListener(&st.Listeners[i], d, specs)
		if err != nil {
			return err
		}
		name := l.Spec().Name
		if st.Listeners[i].Heir != -1 || !known[name] {
			return fmt.Errorf("listener %s of service %s is not in force", l.Local(), name)
		}
		inForce = append(inForce, l)
		s.listeners[name] = append(s.listeners[name], l)
	}
	for i := range st.Replaced {
		l, err := s.restoreListener(&st.Replaced[i], d, specs)
		if err != nil {
			return err
		}
		heir := st.Replaced[i].Heir
		if heir < 0 || heir >= len(inForce) {
			return fmt.Errorf("listener %s has no heir", l.Local())
		}
		l.heir = inForce[heir]
		s.replaced = append(s.replaced, l)
	}
	return nil
}

// Touch gives restored sockets, and their files, what plans want that were committed.
func (s *Set) Touch() {
	s.restored = false
	for _, f := range s.late {
		f()
	}
	s.late = nil
}

// Replaced returns the listeners that are not in force any more, and at which clients may
// still wait.
func (s *Set) Replaced() []*Listener { return slices.Clone(s.replaced) }

func (s *Set) restoreListener(st *ListenerState, d *carry.Descriptors, specs func(string) *service.Spec) (*Listener, error) {
	socket, err := listen.RestoreListener(&st.Socket, d)
	if err != nil {
		return nil, err
	}
	spec := specs(st.Service)
	if spec == nil {
		return nil, fmt.Errorf("listener %s: there is no service %q", socket.Local(), st.Service)
	}
	e := &st.Endpoint
	if e.Nth < 0 || e.Passed && e.Nth >= len(s.inherited.passed[e.Service]) {
		return nil, fmt.Errorf("listener %s: service %s has no endpoint %d", socket.Local(), e.Service, e.Nth)
	}
	l := &Listener{
		Listener: socket, closed: make(chan struct{}), origin: st.Origin, options: st.Options, endpoint: e.endpoint(),
		stored: st.Stored, lost: st.Lost, replaced: st.Replaced.Time(),
	}
	l.spec.Store(spec)
	return l, nil
}

func restoreSockets(states []SocketState, d *carry.Descriptors) (map[string][]systemd.Socket, error) {
	sockets := map[string][]systemd.Socket{}
	for _, st := range states {
		fd, err := d.Take(st.FD)
		if err == nil && fd < 0 {
			err = errors.New("there is no descriptor")
		}
		if err != nil {
			return nil, fmt.Errorf("socket %q of service %s: %w", st.Name, st.Service, err)
		}
		sockets[st.Service] = append(sockets[st.Service], systemd.Socket{FD: fd, Name: st.Name})
	}
	return sockets, nil
}

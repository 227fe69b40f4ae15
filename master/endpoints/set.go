package endpoints

import (
	"slices"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/systemd"
)

// A Set is the listening sockets of the master. The loop owns it.
type Set struct {
	log     *zap.Logger
	manager Manager
	store   bool // sockets are left with the manager

	inherited inherited
	listeners map[string][]*Listener // by service
	order     []string               // of the services, as they are configured
	replaced  []*Listener            // not in force any more, and some clients still wait there
	attic     attic
	// barrierPending says that the manager may still hold sockets that it was
	// told to remove.
	barrierPending bool
	// restored says that nothing may happen yet to the sockets that Restore has given the
	// set, and late is what is to happen to them.
	restored bool
	late     []func()
	closed   bool                       // CloseAll was called
	watches  func() (most int, ok bool) // mostWatches
}

// A Manager keeps sockets for the next process. *systemd.Manager is one, and a
// nil one does nothing.
type Manager interface {
	Store(name string, fd int) error
	Remove(name string)
	Barrier() error
}

// NewSet returns an empty set. With store, sockets that the master binds are
// left with the manager, so that connections which come while the service
// restarts wait for the next process.
func NewSet(manager Manager, store bool, log *zap.Logger) *Set {
	return &Set{log: log, manager: manager, store: store, listeners: map[string][]*Listener{}, attic: attic{open: listen.OpenAttic}, watches: mostWatches}
}

// Of returns the listeners of a service.
func (s *Set) Of(service string) []*Listener { return s.listeners[service] }

// All returns every listener, in the order of the configuration.
func (s *Set) All() []*Listener {
	var all []*Listener
	for _, name := range s.order {
		all = append(all, s.listeners[name]...)
	}
	return all
}

// Store leaves listeners that the master has bound itself with the manager.
func (s *Set) Store(listeners []*Listener) {
	if !s.store {
		return
	}
	for _, l := range listeners {
		if l.endpoint.passed || l.stored {
			continue
		}
		err := l.Descriptor(func(fd int) error { return s.manager.Store(l.endpoint.storeName(), fd) })
		if err != nil {
			l.Spec().Owner().Log.Warn("store listener", logging.Local(l.Local()), logging.Error(err))
			continue
		}
		l.stored = true
	}
}

// Retire closes listeners for good: the manager is told to forget them. They are
// no longer those of any service. Those whose address another listener has taken
// serve first who waits there; Check closes them.
func (s *Set) Retire(listeners []*Listener) {
	retired := map[*Listener]bool{}
	var closing []*Listener
	for _, l := range listeners {
		if l.stored {
			s.manager.Remove(l.endpoint.storeName())
			l.stored = false
			s.barrierPending = true
			s.forgetStored(l)
		}
		if l.heir != nil {
			s.retireSlowly(l)
			continue
		}
		retired[l] = true
		closing = append(closing, l)
	}
	s.close(closing)
	s.closeReplaced(func(r *Listener) bool { return retired[r.heir] })
}

// close ends accepting from listeners.
func (s *Set) close(listeners []*Listener) {
	s.attic.closeStored(listeners)
	for _, l := range listeners {
		l.close()
	}
}

// forgetStored makes Store store the other listeners of an endpoint again, whose
// copies the manager drops with that of l: they have the same name.
func (s *Set) forgetStored(l *Listener) {
	if l.heir == nil {
		return // all of them are retired
	}
	for _, other := range s.listeners[l.heir.Spec().Name] {
		if other.endpoint == l.endpoint {
			other.stored = false
		}
	}
}

// RetireService closes the listeners of a service for good. A socket that the
// service manager has passed is the manager's: it stays open there, and clients
// wait in its queue.
func (s *Set) RetireService(name string) {
	listeners := s.listeners[name]
	delete(s.listeners, name)
	s.Retire(listeners)
}

// CloseAll closes every listener because the master stops. What the manager
// keeps stays there for the next process. A status still shows where they were. It
// may be called more than once; after it, nothing is planned any more.
func (s *Set) CloseAll() {
	if s.closed {
		return
	}
	s.closed = true
	s.close(s.All())
	s.closeReplaced(func(*Listener) bool { return true })
	s.attic.end()
}

// Discard closes everything, listeners and what was inherited, because the
// master does not start. Nothing is removed that the manager keeps.
func (s *Set) Discard() {
	for _, l := range s.All() {
		l.CloseStored()
	}
	s.closeReplaced(func(*Listener) bool { return true })
	s.attic.end()
	clear(s.listeners)
	s.inherited.close()
}

// TakeBarrier reports whether the manager may still hold sockets that it was told
// to remove, and forgets it: the caller calls AwaitRemoval.
func (s *Set) TakeBarrier() bool {
	pending := s.barrierPending
	s.barrierPending = false
	return pending
}

// AwaitRemoval waits until the manager has closed what it was told to remove.
// Before that the addresses are taken. Unlike the other methods it may be called
// off the loop.
func (s *Set) AwaitRemoval() error { return s.manager.Barrier() }

// WarnUnusedPassed says which passed sockets belong to no service any more.
func (s *Set) WarnUnusedPassed(specs []*service.Spec) {
	for name, sockets := range s.inherited.passed {
		if !slices.ContainsFunc(specs, func(spec *service.Spec) bool { return spec.Name == name }) {
			s.log.Warn("socket without a service", logging.Name(name), logging.Sockets(len(sockets)))
		}
	}
}

var _ Manager = (*systemd.Manager)(nil)

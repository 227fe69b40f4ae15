package endpoints

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/systemd"
)

// inherited holds the listening sockets that systemd passed at start, and those
// that it kept for us in the FD store.
type inherited struct {
	// passed are those of socket units, by service. They take the place of what
	// the service lists, and are kept for as long as the master lives: a
	// service that a reload removes may come back with the next one.
	passed map[string][]systemd.Socket
	// stored are those that an earlier process of the same unit has left, by
	// the name under which it did. Those that the configuration at start has
	// no use for are closed.
	stored map[string][]systemd.Socket
}

func (h *inherited) close() {
	for _, sockets := range h.passed {
		systemd.CloseAll(sockets)
	}
	for _, sockets := range h.stored {
		systemd.CloseAll(sockets)
	}
	h.passed, h.stored = nil, nil
}

// Inherit sorts the sockets that this process was given at start, and becomes
// their owner. An error is one of configuration.
func (s *Set) Inherit(sockets []systemd.Socket, services []config.Service) error {
	passed, stored := systemd.Split(sockets)
	s.inherited.stored = map[string][]systemd.Socket{}
	for _, socket := range stored {
		s.inherited.stored[socket.Name] = append(s.inherited.stored[socket.Name], socket)
	}
	var names []string
	for i := range services {
		names = append(names, services[i].Name)
	}
	for i, socket := range passed {
		if err := listen.Check(socket.FD); err != nil {
			systemd.CloseAll(passed)
			return fmt.Errorf("passed descriptor %d of %d, %s, %w", i+1, len(passed), cmp.Or(socket.Name, "without a name"), err)
		}
	}
	var err error
	if s.inherited.passed, err = systemd.Match(passed, names); err != nil {
		systemd.CloseAll(passed)
		return err
	}
	for i := range services {
		if name := services[i].Name; len(s.inherited.passed[name]) == 0 && len(services[i].Listen) == 0 {
			return errNoSocket(name)
		}
	}
	return nil
}

// errNoSocket is the error of a service that has no socket.
func errNoSocket(service string) error {
	return fmt.Errorf("service %s has no socket: it lists none, and none was passed by that name (FileDescriptorName=)", service)
}

// adoptPassed returns a listener of a socket that was passed for a service.
func (s *Set) adoptPassed(e endpoint, o listen.Options) (*listen.Listener, error) {
	l, err := listen.Adopt(s.inherited.passed[e.service][e.nth].FD, o)
	if err != nil {
		return nil, fmt.Errorf("adopt passed socket %d: %w", e.nth+1, err)
	}
	return l, nil
}

// reuseStored returns the listeners that were stored for an endpoint, or none.
// Stored ones that do not fit any more are closed, so that others can be bound.
func (s *Set) reuseStored(e endpoint, resolved []config.Address, o listen.Options) []*listen.Listener {
	name := e.storeName()
	sockets := s.inherited.stored[name]
	if len(sockets) == 0 {
		return nil
	}
	delete(s.inherited.stored, name)
	defer systemd.CloseAll(sockets)
	var fds []int
	for _, socket := range sockets {
		fds = append(fds, socket.FD)
	}
	listeners, err := listen.ReuseStored(e.address, resolved, o, fds)
	if err == nil {
		return listeners
	}
	s.log.Warn("stored socket dropped", logging.Local(e.address.String()), logging.Error(err))
	s.manager.Remove(name)
	s.awaitRemovalAtStart()
	return nil
}

// CloseUnusedStored closes the stored sockets of endpoints at which none of the
// services listens. It comes before anything is bound: an address that overlaps
// theirs is free only without them. It may wait for the manager, so it belongs
// to the start of the master, before the loop.
func (s *Set) CloseUnusedStored(specs []*service.Spec) {
	wanted := map[string]bool{}
	for _, spec := range specs {
		for _, at := range s.endpointsOf(spec) {
			wanted[at.storeName()] = !at.passed
		}
	}
	dropped := false
	for name, sockets := range s.inherited.stored {
		if wanted[name] {
			continue
		}
		s.log.Info("stored socket dropped", logging.Reason("no service listens there any more"), logging.Name(name))
		s.manager.Remove(name)
		systemd.CloseAll(sockets)
		delete(s.inherited.stored, name)
		dropped = true
	}
	if dropped {
		s.awaitRemovalAtStart()
	}
}

func (s *Set) awaitRemovalAtStart() {
	if err := s.AwaitRemoval(); err != nil {
		s.log.Warn("service manager", logging.Error(err))
	}
}

// passedAt returns the name of a service for which a socket was passed that is
// bound to one of the addresses or takes one of them in, or "".
func (s *Set) passedAt(addresses []config.Address) string {
	for name, sockets := range s.inherited.passed {
		for _, socket := range sockets {
			if slices.ContainsFunc(addresses, func(a config.Address) bool { return listen.IsBoundAt(socket.FD, a) }) {
				return name
			}
		}
	}
	return ""
}

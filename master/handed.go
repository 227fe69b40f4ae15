package master

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/systemd"
)

// handed are the sockets that this process was born with.
type handed struct {
	// passed are those of socket units, by service. They take the place of
	// what the service lists, and are kept for as long as the master lives: a
	// service that a reload removes may come back with the next one.
	passed map[string][]systemd.Socket
	// stored are those that an earlier process of the same service has left,
	// by the name under which it did. Those that the configuration of the
	// start has no use for are dropped.
	stored map[string][]systemd.Socket
}

// take sorts the sockets that were passed, of which it becomes the owner. An
// error is one of configuration.
func (h *handed) take(sockets []systemd.Socket, cfg *config.Config) error {
	passed, stored := systemd.Split(sockets)
	h.stored = map[string][]systemd.Socket{}
	for _, s := range stored {
		h.stored[s.Name] = append(h.stored[s.Name], s)
	}
	var names []string
	for i := range cfg.Services {
		names = append(names, cfg.Services[i].Name)
	}
	for i, s := range passed {
		if err := listen.Check(s.FD); err != nil {
			systemd.CloseAll(passed)
			return fmt.Errorf("passed descriptor %d of %d, %s, %w", i+1, len(passed), cmp.Or(s.Name, "without a name"), err)
		}
	}
	var err error
	if h.passed, err = systemd.Match(passed, names); err != nil {
		systemd.CloseAll(passed)
		return err
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if len(h.passed[s.Name]) == 0 && len(s.Listen) == 0 {
			return h.without(s.Name)
		}
	}
	return nil
}

// without is the error of a service that has no socket.
func (h *handed) without(service string) error {
	return fmt.Errorf("service %s has no socket: it lists none, and none was passed by that name (FileDescriptorName=)", service)
}

// close closes all that is left.
func (h *handed) close() {
	for _, sockets := range h.passed {
		systemd.CloseAll(sockets)
	}
	h.passed = nil
	for _, sockets := range h.stored {
		systemd.CloseAll(sockets)
	}
	h.stored = nil
}

// adopt returns a listener of the nth socket that was passed for a service.
func (h *handed) adopt(service string, nth int, o listen.Options) (*listen.Listener, error) {
	l, err := listen.Adopt(h.passed[service][nth].FD, o)
	if err != nil {
		return nil, fmt.Errorf("adopt passed socket %d: %w", nth+1, err)
	}
	return l, nil
}

// retake returns the listeners that were stored for a place, or none. Stored
// ones that do not fit any more are given up, so that others can be bound.
func (m *Master) retake(at place, o listen.Options) []*listen.Listener {
	name := at.storeName()
	sockets := m.handed.stored[name]
	if len(sockets) == 0 {
		return nil
	}
	delete(m.handed.stored, name)
	defer systemd.CloseAll(sockets)
	var fds []int
	for _, s := range sockets {
		fds = append(fds, s.FD)
	}
	listeners, err := listen.Retake(at.address, o, fds)
	if err == nil {
		return listeners
	}
	m.log.Warn("stored socket dropped", logging.Local(at.address.String()), logging.Error(err))
	m.manager.Remove(name)
	// Until the manager has closed its copy the address is taken.
	if err := m.manager.Barrier(); err != nil {
		m.log.Warn("stored socket dropped", logging.Local(at.address.String()), logging.Error(err))
	}
	return nil
}

// dropStored gives up the stored sockets that nobody has taken.
func (m *Master) dropStored() {
	for name, sockets := range m.handed.stored {
		m.log.Info("stored socket dropped", logging.Reason("no service listens there any more"), logging.Name(name))
		m.manager.Remove(name)
		systemd.CloseAll(sockets)
	}
	clear(m.handed.stored)
}

// store leaves listeners that the master has bound itself with the manager, so
// that connections which come while the service restarts wait for the next
// process.
func (m *Master) store(listeners []*listener) {
	if m.manager == nil {
		return
	}
	for _, l := range listeners {
		if l.place.passed || l.stored {
			continue
		}
		err := l.Descriptor(func(fd int) error { return m.manager.Store(l.place.storeName(), fd) })
		if err != nil {
			l.service.Load().log.Warn("store listener", logging.Local(l.Local()), logging.Error(err))
			continue
		}
		l.stored = true
	}
}

// unstore takes back what store has left: nobody is to listen there any more.
func (m *Master) unstore(l *listener) {
	if l.stored {
		m.manager.Remove(l.place.storeName())
		l.stored = false
	}
}

// storeName returns the name under which a place's listeners are stored. It
// says what place has to tell them apart.
func (p place) storeName() string {
	name := p.address.String()
	if p.service != "" {
		name = p.service + "/" + strconv.Itoa(p.nth) + "/" + name
	}
	return systemd.StoreName(name)
}

// warnPassed says which passed sockets belong to no service since a reload.
func (m *Master) warnPassed(services []*service) {
	for name, sockets := range m.handed.passed {
		if !slices.ContainsFunc(services, func(s *service) bool { return s.Name == name }) {
			m.log.Warn("socket without a service", logging.Name(name), logging.Sockets(len(sockets)))
		}
	}
}

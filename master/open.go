package master

import (
	"fmt"
	"os"
	"reflect"
	"syscall"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// newServices makes the services of a configuration, without their sockets, and
// their policies. A service that there is already keeps its books; one that has
// not changed at all, nor been drained, stays as it is, but for its policy: what
// accounts it names may have other numbers by now. Nothing shows before that is
// put in force.
func (m *Master) newServices(cfg *config.Config) (services []*service, policies []admit.Policy, err error) {
	commands, err := cfg.Commands()
	if err != nil {
		return nil, nil, err
	}
	old := map[string]*service{}
	for _, s := range m.services {
		old[s.Name] = s
	}
	for i := range cfg.Services {
		s, err := m.newService(cfg, cfg.Services[i], commands[i])
		if err != nil {
			return nil, nil, fmt.Errorf("service %s: %w", cfg.Services[i].Name, err)
		}
		policies = append(policies, s.policy)
		if before := old[s.Name]; before != nil && !before.drained && s.same(before) {
			s = before
		}
		services = append(services, s)
	}
	return services, policies, nil
}

func (m *Master) newService(cfg *config.Config, configured config.Service, commands config.Commands) (*service, error) {
	if cfg.Once {
		// A single connection has no use for spares, and a debugger none for
		// workers that it did not ask for.
		configured.MinSpares, configured.MaxSpares, configured.ConnectionsPerWorker = 0, 0, 1
	}
	s := &service{
		Service: configured,
		env:     baseEnvironment(configured.Name, configured.Env),
		log:     m.log.With(logging.Service(configured.Name)),
	}
	s.spawn = s.spawnWorker
	var err error
	if s.proxies, err = peersOf(configured.ProxyProtocol); err != nil {
		return nil, fmt.Errorf("proxy-protocol %w", err)
	}
	if s.options, err = socketOptions(&configured); err != nil {
		return nil, err
	}
	command, err := m.command(&configured)
	if err != nil {
		return nil, err
	}
	withArgs := func(c config.Command) process.Command {
		command := command
		command.Path, command.Args = c.Path, c.Args
		return command
	}
	s.command, s.spare = withArgs(commands.Worker), withArgs(commands.Spare)
	s.spare.Control = true
	for i := range configured.Rules {
		r := &rule{Rule: configured.Rules[i]}
		if len(r.Program) > 0 {
			own, err := cfg.RuleCommand(&configured, &configured.Rules[i])
			if err != nil {
				return nil, fmt.Errorf("rule %d: %w", i+1, err)
			}
			c := withArgs(own)
			r.command = &c
		}
		if len(r.Env) > 0 {
			r.env = baseEnvironment(configured.Name, configured.Env, r.Env)
		}
		s.rules = append(s.rules, r)
	}
	if s.policy, err = policyOf(&configured, s.rules, cfg.Once); err != nil {
		return nil, err
	}
	s.pool = newPool(configured.MinSpares, configured.MaxSpares)
	if s.books = m.books[configured.Name]; s.books == nil {
		s.books = newBooks(s.policy)
	}
	return s, nil
}

// command returns what starts a service's programs, but for their names.
func (m *Master) command(s *config.Service) (process.Command, error) {
	c := process.Command{
		Control:   s.Handoff != config.HandoffStdio,
		Null:      m.null,
		Stderr:    os.Stderr,
		Directory: s.Directory,
	}
	if s.Stderr != config.StderrInherit {
		c.Stderr = m.null // with StderrLog each worker gets a pipe of its own
	}
	id, err := s.Identity(config.Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if err != nil {
		return c, fmt.Errorf("user: %w", err)
	}
	if id != nil {
		c.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	if s.Umask.Set {
		if c.Umask, err = process.NewUmask(s.Umask.Bits); err != nil {
			return c, err
		}
	}
	return c, nil
}

// same reports whether a service is configured, and started, as another one is.
func (s *service) same(other *service) bool {
	return s.Service.TOML() == other.Service.TOML() && s.options == other.options &&
		reflect.DeepEqual(s.command, other.command) && reflect.DeepEqual(s.spare, other.spare) && reflect.DeepEqual(s.env, other.env)
}

// bind gives services their listeners: those that are there already for an
// address, and new ones, which it returns. Nothing about the ones that are there
// is changed. On error nothing new is left.
func (m *Master) bind(services []*service) (listeners map[*service][]*listener, opened []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range opened {
				l.CloseStored()
			}
		}
	}()
	there := map[place][]*listener{}
	for _, s := range m.services {
		for _, l := range s.listeners {
			there[l.place] = append(there[l.place], l)
		}
	}
	listeners = map[*service][]*listener{}
	for _, s := range services {
		for _, at := range m.places(s) {
			if kept := there[at]; len(kept) > 0 {
				for _, l := range kept {
					if !at.passed && !l.options.SameBinding(s.options) {
						return nil, opened, fmt.Errorf("bind service %s: listen %v: reuse-port, free-bind, bind-to-device and v6-only cannot be changed while it is listened at", s.Name, at.address)
					}
				}
				listeners[s] = append(listeners[s], kept...)
				continue
			}
			made, err := m.listen(at, s)
			if err != nil {
				return nil, opened, fmt.Errorf("bind service %s: %w", s.Name, err)
			}
			opened = append(opened, made...)
			listeners[s] = append(listeners[s], made...)
		}
		if len(listeners[s]) == 0 {
			return nil, opened, m.handed.without(s.Name)
		}
	}
	return listeners, opened, nil
}

// places returns where a service listens: at the sockets that were passed for
// it, or else at the addresses that it lists.
func (m *Master) places(s *service) []place {
	var places []place
	for nth := range m.handed.passed[s.Name] {
		places = append(places, place{service: s.Name, nth: nth, passed: true})
	}
	if len(places) > 0 {
		return places
	}
	times := map[config.Address]int{}
	for _, address := range s.Listen {
		at := place{address: address}
		if address.Port == 0 && !address.IsUnix() {
			at.service, at.nth = s.Name, times[address]
			times[address]++
		}
		places = append(places, at)
	}
	return places
}

// listen opens the listeners of a place: with the socket that was passed, with
// those that an earlier process has stored, or with new ones.
func (m *Master) listen(at place, s *service) ([]*listener, error) {
	var sockets []*listen.Listener
	var origin string
	if at.passed {
		l, err := m.handed.adopt(s.Name, at.nth, s.options)
		if err != nil {
			return nil, err
		}
		sockets, origin = []*listen.Listener{l}, "passed"
	} else if sockets = m.retake(at, s.options); sockets != nil {
		origin = "stored"
	} else {
		var err error
		if sockets, err = listen.Open(at.address, s.options); err != nil {
			return nil, err
		}
	}
	var made []*listener
	for _, socket := range sockets {
		made = append(made, &listener{
			Listener: socket, place: at, options: s.options, gone: make(chan struct{}),
			origin: origin, stored: origin == "stored",
		})
	}
	return made, nil
}

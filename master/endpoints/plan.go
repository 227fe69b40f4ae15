package endpoints

import (
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
)

// A Plan is who is to listen where: listeners that are there already for an
// endpoint, and new ones. Until it is committed, nothing about the present
// listeners has changed.
type Plan struct {
	// Opened are the new listeners.
	Opened []*Listener

	set       *Set
	specs     []*service.Spec
	changed   []*service.Spec        // those whose listeners do not serve them yet
	removed   []string               // services that have no Spec any more
	listeners map[string][]*Listener // of those that change, by service
	leaving   []*Listener            // present ones that are not kept
	rebound   map[*Listener]bool     // present ones of which each gets a new socket in its place
	others    []listen.Controller    // of this process, and about to be closed
	heirs     map[*Listener]*Listener
}

// Plan opens what the services need that is not there yet. Addresses were
// resolved when the Specs were compiled, so it binds and does not wait. On error
// nothing new is left. The caller commits the plan or discards it.
//
// New listeners may take addresses of present ones that are not kept, and of
// others, which are sockets of this process that the caller is going to close.
func (s *Set) Plan(specs []*service.Spec, others ...listen.Controller) (plan *Plan, err error) {
	p := &Plan{set: s, specs: specs, listeners: map[string][]*Listener{}, others: others, heirs: map[*Listener]*Listener{}}
	p.changed, p.removed = s.changes(specs)
	defer func() {
		if err != nil {
			p.Discard()
		}
	}()
	present := s.byEndpoint(p)
	p.leaving = s.leavingWithout(p.changed, present)
	p.rebound = s.reboundBy(p.changed, present)
	if err := s.checkLimits(p, present); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	if p.opensMany() {
		defer keepLowNumbers()()
	}
	for _, spec := range p.changed {
		for i, at := range s.endpointsOf(spec) {
			if listeners := present[at]; len(listeners) > 0 {
				if err := p.keep(spec, listeners); err != nil {
					return nil, fmt.Errorf("bind service %s: %w", spec.Name, err)
				}
				continue
			}
			var resolved []config.Address
			if !at.passed {
				resolved = spec.Addresses[i].Resolved
			}
			opened, err := p.open(at, resolved, spec.Options)
			if err != nil {
				return nil, fmt.Errorf("bind service %s: %w", spec.Name, err)
			}
			p.Opened = append(p.Opened, opened...)
			p.listeners[spec.Name] = append(p.listeners[spec.Name], opened...)
		}
		if len(p.listeners[spec.Name]) == 0 {
			return nil, errNoSocket(spec.Name)
		}
	}
	p.findHeirs()
	return p, nil
}

// opensMany reports whether so many listeners may be new that they will move.
func (p *Plan) opensMany() bool {
	n := 0
	for _, spec := range p.changed {
		n += len(spec.Addresses)
	}
	return n >= manyListeners
}

// keep takes the present listeners of an endpoint into the plan. Those that get a
// new socket are replaced.
func (p *Plan) keep(spec *service.Spec, listeners []*Listener) error {
	for _, l := range listeners {
		if p.rebound[l] {
			fresh, err := l.reopen(spec.Options, p.makingRoom(l.AddrPort().Port()))
			switch {
			case err == nil:
				p.Opened = append(p.Opened, fresh)
				p.heirs[l] = fresh
				l = fresh
			case !l.options.SameBinding(spec.Options) || errors.Is(err, listen.ErrBusy):
				return err
			}
			// An interface that is not there does not hold up a reload. The
			// status tells of it.
		}
		p.listeners[spec.Name] = append(p.listeners[spec.Name], l)
	}
	return nil
}

// Leaving returns the sockets that the plan does not keep, and whose addresses
// others may take before they are closed.
func (p *Plan) Leaving() []listen.Controller {
	var sockets []listen.Controller
	for _, l := range p.leaving {
		sockets = append(sockets, l.Raw())
	}
	for l := range p.rebound {
		sockets = append(sockets, l.Raw())
	}
	return sockets
}

// makingRoom returns the sockets at a TCP port beside which new ones may be bound,
// because they are about to be closed.
func (p *Plan) makingRoom(port uint16) []listen.Controller {
	sockets := append([]listen.Controller(nil), p.others...)
	for _, l := range p.leaving {
		if l.AddrPort().Port() == port {
			sockets = append(sockets, l.Raw())
		}
	}
	for l := range p.rebound {
		if l.AddrPort().Port() == port {
			sockets = append(sockets, l.Raw())
		}
	}
	return sockets
}

// Discard closes what the plan has opened.
func (p *Plan) Discard() {
	Discard(p.Opened)
	p.Opened = nil
}

// Discard closes listeners that a plan has opened, and at which nobody accepts yet.
func Discard(opened []*Listener) {
	for _, l := range opened {
		if l.stored {
			_ = l.CloseStored()
		} else {
			_ = l.Close()
		}
	}
}

// endpointsOf returns where a service listens: at the sockets that were passed
// for it, or else at the addresses that it lists, in the same order.
func (s *Set) endpointsOf(spec *service.Spec) []endpoint {
	var endpoints []endpoint
	for nth := range s.inherited.passed[spec.Name] {
		endpoints = append(endpoints, endpoint{service: spec.Name, nth: nth, passed: true})
	}
	if len(endpoints) > 0 {
		return endpoints
	}
	times := map[config.Address]int{}
	for _, a := range spec.Addresses {
		at := endpoint{address: a.Address}
		if a.Port == 0 && !a.IsUnix() {
			at.service, at.nth = spec.Name, times[a.Address]
			times[a.Address]++
		}
		endpoints = append(endpoints, at)
	}
	return endpoints
}

// open opens the listeners of an endpoint: with the socket that was passed, with
// those that an earlier process has stored, or with new ones.
func (p *Plan) open(at endpoint, resolved []config.Address, o listen.Options) ([]*Listener, error) {
	s := p.set
	var sockets []*listen.Listener
	var origin string
	if at.passed {
		l, err := s.adoptPassed(at, o)
		if err != nil {
			return nil, err
		}
		sockets, origin = []*listen.Listener{l}, "passed"
	} else if sockets = s.reuseStored(at, resolved, o); sockets != nil {
		origin = "stored"
	} else {
		var err error
		if sockets, err = p.bind(at.address, resolved, o); err != nil {
			return nil, err
		}
	}
	var opened []*Listener
	for _, socket := range sockets {
		opened = append(opened, &Listener{
			Listener: socket, endpoint: at, options: o, closed: make(chan struct{}),
			origin: origin, stored: origin == "stored",
		})
	}
	return opened, nil
}

// bind binds new sockets. An address that is in use may be one of a listener
// that this plan does not keep.
func (p *Plan) bind(at config.Address, resolved []config.Address, o listen.Options) ([]*listen.Listener, error) {
	sockets, err := listen.OpenResolved(at, resolved, o)
	if at.IsUnix() || !errors.Is(err, unix.EADDRINUSE) {
		return sockets, err
	}
	if others := p.makingRoom(at.Port); len(others) > 0 {
		sockets, err = listen.OpenBeside(at, resolved, o, others)
	}
	if errors.Is(err, unix.EADDRINUSE) {
		if name := p.set.passedAt(resolved); name != "" {
			err = fmt.Errorf("%w: by a socket that was passed for service %s, and that only its socket unit can close", err, name)
		}
	}
	return sockets, err
}

// Commit puts a plan in force: its listeners accept for its Specs, which belong
// to their services by now. It returns the listeners that nobody needs any more,
// which the caller retires once the new ones accept, and the services that have
// lost a listener to another service: whoever waits there for a slot has to look
// again for which service that is.
func (s *Set) Commit(p *Plan) (closed []*Listener, left []*service.Service) {
	kept := map[*Listener]bool{}
	for _, spec := range p.changed {
		for _, l := range p.listeners[spec.Name] {
			kept[l] = true
			if l.options != spec.Options {
				apply := func() {
					if err := l.Apply(spec.Options); err != nil {
						spec.Owner().Log.Warn("change socket options", logging.Local(l.Local()), logging.Error(err))
					}
				}
				if s.restored {
					s.late = append(s.late, apply)
				} else {
					apply()
				}
				l.options = spec.Options
			}
			if old := l.spec.Swap(spec); old != nil && old.Owner() != spec.Owner() {
				left = append(left, old.Owner())
			}
		}
	}
	left = append(left, s.inherit(p)...)
	changes := map[string]bool{}
	for _, name := range p.names() {
		changes[name] = true
	}
	for _, name := range s.order {
		if !changes[name] {
			continue
		}
		for _, l := range s.listeners[name] {
			if !kept[l] {
				closed = append(closed, l)
			}
		}
		delete(s.listeners, name)
	}
	maps.Copy(s.listeners, p.listeners)
	s.order = make([]string, 0, len(p.specs))
	for _, spec := range p.specs {
		s.order = append(s.order, spec.Name)
	}
	return closed, left
}

package endpoints

import (
	"fmt"

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

	specs     []*service.Spec
	listeners map[string][]*Listener // by service
}

// Plan opens what the services need that is not there yet. Addresses were
// resolved when the Specs were compiled, so it binds and does not wait. On error
// nothing new is left. The caller commits the plan or discards it.
func (s *Set) Plan(specs []*service.Spec) (plan *Plan, err error) {
	p := &Plan{specs: specs, listeners: map[string][]*Listener{}}
	defer func() {
		if err != nil {
			p.Discard()
		}
	}()
	present := map[endpoint][]*Listener{}
	for _, listeners := range s.listeners {
		for _, l := range listeners {
			present[l.endpoint] = append(present[l.endpoint], l)
		}
	}
	for _, spec := range specs {
		for i, at := range s.endpointsOf(spec) {
			if kept := present[at]; len(kept) > 0 {
				for _, l := range kept {
					if !at.passed && !l.options.SameBinding(spec.Options) {
						return nil, fmt.Errorf("bind service %s: listen %v: reuse-port, free-bind, bind-to-device and v6-only cannot be changed while it is listened at", spec.Name, at.address)
					}
				}
				p.listeners[spec.Name] = append(p.listeners[spec.Name], kept...)
				continue
			}
			var resolved []config.Address
			if !at.passed {
				resolved = spec.Addresses[i].Resolved
			}
			opened, err := s.open(at, resolved, spec.Options)
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
	return p, nil
}

// Discard closes what the plan has opened.
func (p *Plan) Discard() {
	for _, l := range p.Opened {
		l.CloseStored()
	}
	p.Opened = nil
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
func (s *Set) open(at endpoint, resolved []config.Address, o listen.Options) ([]*Listener, error) {
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
		if sockets, err = listen.OpenResolved(at.address, resolved, o); err != nil {
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

// Commit puts a plan in force: its listeners accept for its Specs, which belong
// to their services by now. It returns the listeners that nobody needs any more,
// which the caller retires once the new ones accept, and the services that have
// lost a listener to another service: whoever waits there for a slot has to look
// again for which service that is.
func (s *Set) Commit(p *Plan) (closed []*Listener, left []*service.Service) {
	kept := map[*Listener]bool{}
	for _, spec := range p.specs {
		for _, l := range p.listeners[spec.Name] {
			kept[l] = true
			if l.options != spec.Options {
				if err := l.Apply(spec.Options); err != nil {
					spec.Owner().Log.Warn("change socket options", logging.Local(l.Local()), logging.Error(err))
				}
				l.options = spec.Options
			}
			if old := l.spec.Swap(spec); old != nil && old.Owner() != spec.Owner() {
				left = append(left, old.Owner())
			}
		}
	}
	for _, l := range s.All() {
		if !kept[l] {
			closed = append(closed, l)
		}
	}
	s.listeners, s.order = p.listeners, nil
	for _, spec := range p.specs {
		s.order = append(s.order, spec.Name)
	}
	return closed, left
}

package endpoints

import (
	"net/netip"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
)

// A listener is replaced when a new one takes its address: a reload has another
// form of the address, such as :80 for 127.0.0.1:80, or other options that a
// bound socket cannot get, or its interface was made anew. Both listen for a
// moment, so there is always one. Clients that wait in the queue of the old one
// are served by those who serve the new one, its heir. When nobody is left
// there, the old one is closed.

// settleTime is how long a replaced listener is kept at least. A client whose
// connection had begun before has that time to complete it.
const settleTime = time.Second

// checkInterval is how often replaced listeners and interfaces are looked at.
const checkInterval = time.Second

// reopen binds a new socket in place of a listener's, beside others of this
// process that are about to be closed. On error the listener is as it was.
func (l *Listener) reopen(o listen.Options, others []listen.Controller) (*Listener, error) {
	a := l.endpoint.address
	socket, err := l.Reopen(o, others, !a.IsUnix() && a.Host == "" && !a.IP.IsValid())
	if err != nil {
		return nil, err
	}
	return &Listener{Listener: socket, endpoint: l.endpoint, options: o, closed: make(chan struct{})}, nil
}

// byEndpoint returns the listeners of the services that a plan changes or removes,
// by what they were opened for.
func (s *Set) byEndpoint(p *Plan) map[endpoint][]*Listener {
	present := map[endpoint][]*Listener{}
	for _, name := range p.names() {
		for _, l := range s.listeners[name] {
			present[l.endpoint] = append(present[l.endpoint], l)
		}
	}
	return present
}

// leavingWithout returns the listeners that the master has bound and that Specs
// have no use for, and those that were replaced before.
func (s *Set) leavingWithout(specs []*service.Spec, present map[endpoint][]*Listener) []*Listener {
	wanted := map[endpoint]bool{}
	for _, spec := range specs {
		for _, at := range s.endpointsOf(spec) {
			wanted[at] = true
		}
	}
	leaving := append([]*Listener(nil), s.replaced...)
	for at, listeners := range present {
		if !wanted[at] && !at.passed {
			leaving = append(leaving, listeners...)
		}
	}
	return leaving
}

// reboundBy returns the listeners for which Specs want a new socket in the same
// place: those that were bound with other options, and those that no client can
// reach any more.
func (s *Set) reboundBy(specs []*service.Spec, present map[endpoint][]*Listener) map[*Listener]bool {
	rebound := map[*Listener]bool{}
	for _, spec := range specs {
		for _, at := range s.endpointsOf(spec) {
			for _, l := range present[at] {
				if !at.passed && (!l.options.SameBinding(spec.Options) || l.Lost() != nil) {
					rebound[l] = true
				}
			}
		}
	}
	return rebound
}

// findHeirs finds for each listener that leaves the one that serves its clients
// from now on: one of the same service that has an address in common with it, or
// one of another service that has all of its addresses. A client that came to
// one address is never given to a service that listens at other ones only.
func (p *Plan) findHeirs() {
	if !slices.ContainsFunc(p.leaving, func(l *Listener) bool { return l.AddrPort().IsValid() }) {
		return
	}
	equal := map[netip.AddrPort]*Listener{}
	wild, all := map[uint16][]*Listener{}, map[uint16][]*Listener{} // by port
	service := map[*Listener]string{}
	for _, spec := range p.specs {
		for _, l := range p.of(spec) {
			at := l.AddrPort()
			if !at.IsValid() {
				continue
			}
			service[l] = spec.Name
			all[at.Port()] = append(all[at.Port()], l)
			if l.IsWildcard() {
				wild[at.Port()] = append(wild[at.Port()], l)
			} else {
				equal[at] = l
			}
		}
	}
	for _, old := range p.leaving {
		at := old.AddrPort()
		if !at.IsValid() {
			continue
		}
		candidates := wild[at.Port()]
		if old.IsWildcard() {
			candidates = all[at.Port()]
		} else if l := equal[at]; l != nil {
			candidates = append([]*Listener{l}, candidates...)
		}
		for _, l := range candidates {
			if l.Covers(old.Listener) || service[l] == old.Spec().Name && l.Overlaps(old.Listener) {
				p.heirs[old] = l
				break
			}
		}
	}
}

// inherit has replaced listeners accept for the Specs of their heirs. It returns
// the services that have lost a listener to another service.
func (s *Set) inherit(p *Plan) (left []*service.Service) {
	for _, old := range s.replaced { // by an earlier plan
		if next := p.heirs[old.heir]; next != nil && p.heirs[old] == nil {
			p.heirs[old] = next
		} else if p.heirs[old] == nil {
			p.heirs[old] = old.heir // which stays, or closes with its own service
		}
	}
	for old, heir := range p.heirs {
		old.heir = heir
		spec := heir.Spec()
		if before := old.spec.Swap(spec); before.Owner() != spec.Owner() {
			left = append(left, before.Owner())
		}
	}
	return left
}

// retireSlowly keeps a replaced listener until nobody waits there.
func (s *Set) retireSlowly(l *Listener) {
	for _, r := range s.replaced {
		if r.heir == l {
			r.heir = l.heir
		}
	}
	s.replaced = append(s.replaced, l)
	l.replaced = time.Now()
	if err := l.StopArrivals(); err != nil {
		// Those few are lost who connect in the moment of the close.
		l.Spec().Owner().Log.Debug("close listener", logging.Local(l.Local()), logging.Error(err))
	}
}

// closeReplaced closes those replaced listeners that are chosen.
func (s *Set) closeReplaced(chosen func(*Listener) bool) {
	var closing, rest []*Listener
	for _, r := range s.replaced {
		if chosen(r) {
			closing = append(closing, r)
		} else {
			rest = append(rest, r)
		}
	}
	s.replaced = rest
	s.close(closing)
}

// CheckInterval returns after which time Check is due, or 0 if there is nothing
// to check.
func (s *Set) CheckInterval() time.Duration {
	if s.closed {
		return 0
	}
	if len(s.replaced) > 0 || slices.ContainsFunc(s.All(), func(l *Listener) bool { return l.OnInterface() }) {
		return checkInterval
	}
	return 0
}

// Check closes replaced listeners at which nobody waits any more, and replaces
// those whose interface was made anew. It does not wait. The caller starts to
// accept from opened and then retires closed.
func (s *Set) Check(now time.Time) (opened, closed []*Listener) {
	if s.closed {
		return nil, nil
	}
	s.closeReplaced(func(l *Listener) bool { return now.Sub(l.replaced) >= settleTime && !l.Waiting() })
	for _, name := range s.order {
		for i, l := range s.listeners[name] {
			if fresh := s.checkInterface(l); fresh != nil {
				// A status may still read the present list.
				s.listeners[name] = slices.Clone(s.listeners[name])
				s.listeners[name][i] = fresh
				opened, closed = append(opened, fresh), append(closed, l)
			}
		}
	}
	return opened, closed
}

// checkInterface returns a listener in place of one that no client can reach
// because its interface was made anew, or nil.
func (s *Set) checkInterface(l *Listener) *Listener {
	if !l.OnInterface() {
		return nil
	}
	err := l.Lost()
	if err == nil {
		l.lost = false
		return nil
	}
	if !l.lost {
		l.lost = true
		l.Spec().Owner().Log.Warn("listener unreachable", logging.Local(l.Local()), logging.Error(err))
	}
	if l.endpoint.passed {
		return nil // its socket unit has to bind it again
	}
	var others []listen.Controller
	for _, r := range s.replaced {
		others = append(others, r.Raw())
	}
	fresh, err := l.reopen(l.options, others)
	if err != nil {
		return nil // the next check tries again
	}
	spec := l.Spec()
	fresh.spec.Store(spec)
	l.heir = fresh
	return fresh
}

package learning

import (
	"crypto/rand"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/service"
)

// A Set is the observations that there are, by the names of the services. The zero Set
// has none.
type Set struct{ byName map[string]*Learning }

// Reserve notes that a service is about to be observed for a client, of whom by tells.
// Nobody else may observe the service until Drop. The error is a *control.Error which
// says why the service cannot be observed now.
func (s *Set) Reserve(svc *service.Service, by string) (*Learning, error) {
	if other := s.byName[svc.Name]; other != nil {
		return nil, control.Errorf(control.Conflict, "service %s is observed already, for %s", svc.Name, other.by)
	}
	if svc.Draining() {
		return nil, control.Errorf(control.Conflict, "service %s is drained, and has no new connections to observe; preforkd resume brings it back", svc.Name)
	}
	l := &Learning{id: rand.Text(), by: by, service: svc}
	if s.byName == nil {
		s.byName = map[string]*Learning{}
	}
	s.byName[svc.Name] = l
	return l, nil
}

// Len returns how many learnings there are.
func (s *Set) Len() int { return len(s.byName) }

// Find returns the observation that a client knows by an id, or nil. One that was
// reserved and has not begun is nobody's yet.
func (s *Set) Find(id string) *Learning {
	for _, l := range s.byName {
		if l.id == id && l.box != nil {
			return l
		}
	}
	return nil
}

// Drop ends an observation, and allows others to observe the service. It reports
// false if the observation is over already.
func (s *Set) Drop(l *Learning) bool {
	if s.byName[l.service.Name] != l {
		return false
	}
	if l.lease != nil {
		l.lease.Stop()
	}
	delete(s.byName, l.service.Name)
	return true
}

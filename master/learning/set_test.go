package learning

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// A processBox is a box in which nothing is started.
type processBox struct{ process.Box }

// A made is a Box that knows what the test says.
type made struct {
	box    processBox
	result observe.Result
}

func (m *made) Box() process.Box       { return &m.box }
func (m *made) Result() observe.Result { return m.result }

func newService(t *testing.T) *service.Service {
	t.Helper()
	return servicetest.Spec(t, "program = ['/bin/cat']", zap.NewNop()).Owner()
}

func reserve(t *testing.T, s *Set, svc *service.Service, by string) *Learning {
	t.Helper()
	l, err := s.Reserve(svc, by)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantConflict(t *testing.T, err error, text string) {
	t.Helper()
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Kind != control.Conflict || e.Text != text {
		t.Errorf("got %v, want %s", err, text)
	}
}

// A service is observed for one client at a time, from the moment on when it asks.
func TestOneLearningOfAService(t *testing.T) {
	var s Set
	svc := newService(t)
	first := reserve(t, &s, svc, "a")
	_, err := s.Reserve(svc, "b")
	wantConflict(t, err, "service test is observed already, for a")
	if s.Find(first.id) != nil {
		t.Error("the client knows of an observation that has not begun")
	}
	first.Begin(&made{}, func() {})
	if s.Find(first.id) != first || s.Find("") != nil {
		t.Error("the observation is not found by its id")
	}
	if !s.Drop(first) || s.Drop(first) || s.Find(first.id) != nil {
		t.Error("the observation is not over")
	}

	second := reserve(t, &s, svc, "b")
	if s.Drop(first) || second.id == first.id {
		t.Error("the end of the first one has ended the second")
	}
	if !s.Drop(second) {
		t.Error("what was only reserved cannot be dropped")
	}
}

func TestNoLearningOfADrainedService(t *testing.T) {
	var s Set
	svc := newService(t)
	svc.Drain()
	_, err := s.Reserve(svc, "a")
	wantConflict(t, err, "service test is drained, and has no new connections to observe; preforkd resume brings it back")
}

// An observation is in force as long as the service runs in its box.
func TestInForce(t *testing.T) {
	var s Set
	svc, box := newService(t), &made{}
	l := reserve(t, &s, svc, "a")
	l.Begin(box, func() {})
	defer s.Drop(l)
	if l.InForce() {
		t.Error("in force before the service runs in the box")
	}
	svc.Install(svc.Spec().InBox(box.Box()), time.Now())
	if !l.InForce() {
		t.Error("not in force in the box")
	}
	svc.Install(svc.Spec().Original(), time.Now())
	if l.InForce() {
		t.Error("in force after the service was changed")
	}
}

// The lease ends when the client has been silent for long, and only then.
func TestLease(t *testing.T) {
	svc := newService(t)
	synctest.Test(t, func(t *testing.T) {
		var s Set
		silent := make(chan struct{}, 1)
		l := reserve(t, &s, svc, "a")
		l.Begin(&made{}, func() { silent <- struct{}{} })
		for range 3 {
			time.Sleep(Lease - time.Nanosecond)
			l.Renew()
		}
		began := time.Now()
		<-silent
		if d := time.Since(began); d != Lease {
			t.Errorf("silent after %v", d)
		}

		l.Renew()
		s.Drop(l)
		time.Sleep(2 * Lease)
		synctest.Wait()
		if len(silent) != 0 {
			t.Error("the lease of what was dropped has ended")
		}
	})
}

func TestKnown(t *testing.T) {
	var s Set
	l := reserve(t, &s, newService(t), "a")
	l.Begin(&made{result: observe.Result{
		Processes: 2, Calls: []string{"mkdir"}, Families: []string{"unix"}, AnyFamily: true,
		Needs: []string{"restrict-realtime"}, Denied: map[string]uint64{"bpf": 3},
	}}, func() {})
	defer s.Drop(l)
	known := l.Known()
	if known.ID != l.id || known.Service != "test" || known.Over != "" || known.Processes != 2 || known.SystemCalls[0] != "mkdir" ||
		known.AddressFamilies[0] != "unix" || !known.AnyFamily || known.Needs[0] != "restrict-realtime" || known.Denied["bpf"] != 3 {
		t.Errorf("known is %+v", known)
	}
}

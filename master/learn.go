package master

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
)

// learnings are the services whose workers are observed, by their names. The loop owns
// them, but for the box of a learning, which does not change once it is there.
type learnings map[string]*learning

// A learning is the observation of a service for a client of the control socket.
type learning struct {
	id      string
	by      string
	service *service.Service
	box     *box.Learning // nil while it is made
	lease   *time.Timer   // ends the learning of a client that does not ask any more
}

// learnLease is how long a client that learns may keep silent.
const learnLease = 10 * time.Second

// Learn has the new workers of a service run in a box that denies what its own one
// denies, and in which it is learned what they use. Its spares are replaced. Nobody else
// may learn of the service meanwhile.
func (m *Master) Learn(ctx context.Context, name string, peer control.Peer) (control.Learned, error) {
	l := &learning{id: rand.Text(), by: requestedBy(peer)}
	var spec *service.Spec
	var err error
	if asked := m.runOnLoop(ctx, func() {
		if l.service, err = m.services.named(name); err == nil {
			spec, err = l.service.Spec(), m.mayLearn(l.service)
		}
		if err == nil {
			m.services.learning[name] = l
		}
	}); asked != nil || err != nil {
		return control.Learned{}, cmp.Or(asked, err)
	}
	// Making and trying a box takes a while, and is not for the loop.
	made, err := m.services.boxes.Learn(name, spec.ProcessBox())
	// Also if the client has gone by now: what was noted is taken back here.
	if asked := m.runOnLoop(context.WithoutCancel(ctx), func() {
		if err == nil {
			err = m.beginLearning(l, spec, made)
		} else {
			err = control.Errorf(control.Conflict, "service %s: %v", name, err)
		}
		if err != nil {
			m.forgetLearning(l)
			m.services.useBoxes() // and not the one that was made
		}
	}); asked != nil || err != nil {
		return control.Learned{}, cmp.Or(asked, err)
	}
	return l.known(), nil
}

// mayLearn returns why a service cannot be observed now, or nil.
func (m *Master) mayLearn(svc *service.Service) error {
	other := m.services.learning[svc.Name]
	switch {
	case m.isEnding():
		return control.Errorf(control.Conflict, "service %s is not observed: preforkd is stopping", svc.Name)
	case other != nil:
		return control.Errorf(control.Conflict, "service %s is observed already, for %s", svc.Name, other.by)
	case svc.Draining():
		return control.Errorf(control.Conflict, "service %s is drained, and has no new connections to observe; preforkd resume brings it back", svc.Name)
	case m.services.boxes == nil:
		return control.Errorf(control.Conflict, "service %s is not observed: there are no boxes", svc.Name)
	}
	return nil
}

// beginLearning puts the box of a learning in force.
func (m *Master) beginLearning(l *learning, spec *service.Spec, made *box.Learning) error {
	m.takeOutcomes()
	if m.isEnding() || !m.services.isInForce(l.service) || l.service.Spec() != spec || l.service.Draining() {
		return control.Errorf(control.Conflict, "service %s has just been changed; try again", l.service.Name)
	}
	if err := m.serveSpec(l.service, spec.InBox(made.Box()), func([]*endpoints.Listener) {}); err != nil {
		return control.Errorf(control.Failed, "service %s is not observed: %v", l.service.Name, err)
	}
	l.box = made
	l.lease = time.AfterFunc(learnLease, func() {
		_ = m.runOnLoop(context.Background(), func() { m.endLearning(l, "nobody has asked for it any more") })
	})
	l.service.Log.Info(logging.EventLearning, logging.Reason(l.by))
	return nil
}

// Learned returns what is known of a learning, which ends if the client wants that or if
// something has ended it.
func (m *Master) Learned(ctx context.Context, id string, end bool) (control.Learned, error) {
	var l *learning
	over := ""
	if err := m.runOnLoop(ctx, func() {
		for _, other := range m.services.learning {
			if other.id == id && other.box != nil {
				l = other
			}
		}
		if l == nil {
			return
		}
		switch over = m.learningOver(l); {
		case over != "":
			m.endLearning(l, over)
		case end:
			m.endLearning(l, l.by)
		default:
			l.lease.Reset(learnLease)
		}
	}); err != nil {
		return control.Learned{}, err
	}
	if l == nil {
		return control.Learned{}, control.Errorf(control.NotFound, "nothing is observed under %q: it was not asked for within %v, or preforkd was started anew", id, learnLease)
	}
	known := l.known()
	known.Over = over
	return known, nil
}

// learningOver returns what has ended a learning, or "".
func (m *Master) learningOver(l *learning) string {
	switch {
	case m.isEnding():
		return "preforkd is stopping"
	case !m.services.isInForce(l.service):
		return "a reload has removed the service"
	case l.service.Spec().ProcessBox() != l.box.Box():
		return "a reload has changed the service"
	}
	return ""
}

// endLearning has the workers of a service run again in what they ran in before. Those
// that are observed stay so to their end, and nobody asks what they use.
func (m *Master) endLearning(l *learning, reason string) {
	if m.services.learning[l.service.Name] != l {
		return
	}
	m.takeOutcomes()
	var err error
	if m.services.isInForce(l.service) && l.service.Spec().ProcessBox() == l.box.Box() {
		err = m.leaveLearningBox(l.service)
	}
	m.forgetLearning(l)
	fields := []zap.Field{logging.Reason(reason), zap.Int("processes", l.box.Result().Processes)}
	if err != nil {
		fields = append(fields, logging.Error(err))
	}
	l.service.Log.Info(logging.EventLearned, fields...)
}

func (m *Master) leaveLearningBox(svc *service.Service) error {
	original := svc.Spec().Original()
	if svc.Draining() || m.isEnding() {
		svc.Replace(original)
		m.services.useBoxes()
		return nil
	}
	if err := m.serveSpec(svc, original, func([]*endpoints.Listener) {}); err != nil {
		return fmt.Errorf("the service stays observed until a reload changes it: %w", err)
	}
	return nil
}

// forgetLearning allows others to learn of the service.
func (m *Master) forgetLearning(l *learning) {
	if l.lease != nil {
		l.lease.Stop()
	}
	delete(m.services.learning, l.service.Name)
}

// known returns what is known so far.
func (l *learning) known() control.Learned {
	r := l.box.Result()
	return control.Learned{
		ID: l.id, Service: l.service.Name, Processes: r.Processes, SystemCalls: r.Calls,
		AddressFamilies: r.Families, AnyFamily: r.AnyFamily, Needs: r.Needs, Denied: r.Denied,
	}
}

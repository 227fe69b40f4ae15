package master

import (
	"cmp"
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/learning"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
)

// Learn has the new workers of a service run in a box that denies what its own one
// denies, and in which it is learned what they use. Its spares are replaced. Nobody else
// may learn of the service meanwhile.
func (m *Master) Learn(ctx context.Context, name string, peer control.Peer) (control.Learned, error) {
	var l *learning.Learning
	var spec *service.Spec
	var err error
	if asked := m.runOnLoop(ctx, func() { l, spec, err = m.reserveLearning(name, requestedBy(peer)) }); asked != nil || err != nil {
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
			m.services.learning.Drop(l)
			m.services.useBoxes() // and not the one that was made
		}
	}); asked != nil || err != nil {
		return control.Learned{}, cmp.Or(asked, err)
	}
	return l.Known(), nil
}

// reserveLearning reserves the observation of a service, and returns what the service
// is like now.
func (m *Master) reserveLearning(name, by string) (*learning.Learning, *service.Spec, error) {
	svc, err := m.services.named(name)
	switch {
	case err != nil:
		return nil, nil, err
	case m.isEnding():
		return nil, nil, control.Errorf(control.Conflict, "service %s is not observed: preforkd is stopping", name)
	case m.services.boxes == nil:
		return nil, nil, control.Errorf(control.Conflict, "service %s is not observed: there are no boxes", name)
	}
	l, err := m.services.learning.Reserve(svc, by)
	return l, svc.Spec(), err
}

// beginLearning puts the box of a learning in force.
func (m *Master) beginLearning(l *learning.Learning, spec *service.Spec, made *box.Learning) error {
	m.takeOutcomes()
	svc := l.Service()
	if m.isEnding() || !m.services.isInForce(svc) || svc.Spec() != spec || svc.Draining() {
		return control.Errorf(control.Conflict, "service %s has just been changed; try again", svc.Name)
	}
	if err := m.serveSpec(svc, spec.InBox(made.Box()), func([]*endpoints.Listener) {}); err != nil {
		return control.Errorf(control.Failed, "service %s is not observed: %v", svc.Name, err)
	}
	l.Begin(made, func() {
		_ = m.runOnLoop(context.Background(), func() { m.endLearning(l, "nobody has asked for it any more") })
	})
	svc.Log.Info(logging.EventLearning, logging.Reason(l.By()))
	return nil
}

// Learned returns what is known of a learning, which ends if the client wants that or if
// something has ended it.
func (m *Master) Learned(ctx context.Context, id string, end bool) (control.Learned, error) {
	var l *learning.Learning
	over := ""
	if err := m.runOnLoop(ctx, func() {
		if l = m.services.learning.Find(id); l == nil {
			return
		}
		switch over = m.learningOver(l); {
		case over != "":
			m.endLearning(l, over)
		case end:
			m.endLearning(l, l.By())
		default:
			l.Renew()
		}
	}); err != nil {
		return control.Learned{}, err
	}
	if l == nil {
		return control.Learned{}, control.Errorf(control.NotFound, "nothing is observed under %q: it was not asked for within %v, or preforkd was started anew", id, learning.Lease)
	}
	known := l.Known()
	known.Over = over
	return known, nil
}

// learningOver returns what has ended a learning, or "".
func (m *Master) learningOver(l *learning.Learning) string {
	switch {
	case m.isEnding():
		return "preforkd is stopping"
	case !m.services.isInForce(l.Service()):
		return "a reload has removed the service"
	case !l.InForce():
		return "a reload has changed the service"
	}
	return ""
}

// endLearning has the workers of a service run again in what they ran in before. Those
// that are observed stay so to their end, and nobody asks what they use.
func (m *Master) endLearning(l *learning.Learning, reason string) {
	if !m.services.learning.Drop(l) {
		return
	}
	m.takeOutcomes()
	svc := l.Service()
	var err error
	if m.services.isInForce(svc) && l.InForce() {
		err = m.leaveLearningBox(svc)
	}
	fields := []zap.Field{logging.Reason(reason), zap.Int("processes", l.Known().Processes)}
	if err != nil {
		fields = append(fields, logging.Error(err))
	}
	svc.Log.Info(logging.EventLearned, fields...)
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

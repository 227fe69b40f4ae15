package master

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/status"
)

// Resume brings a service back that was drained, as it is configured and as it
// was compiled: nothing is read or looked up again. So it needs no configuration
// file. A service that is not drained stays as it is.
func (m *Master) Resume(ctx context.Context, name string, peer control.Peer) (r control.Resumed, err error) {
	var barrier bool
	if err := m.runOnLoop(ctx, func() { barrier = m.endpoints.TakeBarrier() }); err != nil {
		return r, err
	}
	if barrier { // the addresses may be those that the manager still holds
		if err := m.endpoints.AwaitRemoval(); err != nil && !m.loop.isStopping() {
			m.log.Warn("service manager", logging.Error(err))
		}
	}
	for range busyTries {
		if r, err = m.resumeNow(ctx, name, peer); !errors.Is(err, listen.ErrBusy) {
			return r, err
		}
		time.Sleep(busyPause)
	}
	return r, control.Errorf(control.Failed, "service %s is not resumed: %v", name, err)
}

// resumeNow does what Resume does, unless that is listen.ErrBusy.
func (m *Master) resumeNow(ctx context.Context, name string, peer control.Peer) (r control.Resumed, err error) {
	asked := m.runOnLoop(ctx, func() {
		m.takeOutcomes()
		var svc *service.Service
		if svc, err = m.services.named(name); err != nil {
			return
		}
		if err = m.resumeService(svc, requestedBy(peer)); err != nil {
			return
		}
		r = control.Resumed{Service: svc.Name, State: status.StateOf(svc, false, svc.Totals().Live()), Listeners: []string{}}
		for _, l := range m.endpoints.Of(svc.Name) {
			r.Listeners = append(r.Listeners, l.Local())
		}
	})
	if asked != nil {
		return r, asked
	}
	return r, err
}

// resumeService ends the drain of a service: its listeners are opened again, and
// its spares are started. On error it stays drained. A reload that is under way
// does not drain it again.
func (m *Master) resumeService(svc *service.Service, reason string) error {
	if m.isEnding() {
		return control.Errorf(control.Conflict, "service %s is not resumed: preforkd is stopping", svc.Name)
	}
	m.reloads.ForgetDrain(svc.Name)
	if !svc.Draining() {
		return nil
	}
	// Workers and connections of the Spec that was drained know that they come
	// to an end. So there is another one that means the same.
	err := m.serveSpec(svc, svc.Spec().Renew(), func(opened []*endpoints.Listener) {
		local := func(l *endpoints.Listener) string { return l.Local() }
		svc.Log.Info("resumed", zap.String("opened", strings.Join(names(opened, local), " ")), logging.Reason(reason))
	})
	if err != nil && !errors.Is(err, listen.ErrBusy) {
		return control.Errorf(control.Failed, "service %s is not resumed: %v", svc.Name, err)
	}
	return err
}

// serveSpec puts a Spec of a service in force that differs from the present one in what
// workers run in, or in nothing. On error nothing has changed. tell is called before the
// listeners that were opened accept.
func (m *Master) serveSpec(svc *service.Service, spec *service.Spec, tell func(opened []*endpoints.Listener)) error {
	var specs []*service.Spec
	for _, s := range m.services.inForce {
		switch {
		case s == svc:
			specs = append(specs, spec)
		case !s.Draining():
			specs = append(specs, s.Spec())
		}
	}
	plan, err := m.endpoints.Plan(specs)
	if err != nil {
		return err
	}
	before := svc.Spec()
	m.dispatcher.Open(spec)
	opened := plan.Opened
	// All others keep what they have, unless no client can reach it any more.
	closed, _ := m.endpoints.Commit(plan)
	svc.Install(spec, time.Now())
	m.acceptor.Resume(svc)
	m.services.useBoxes()
	m.dispatcher.Close(before, time.Now()) // its spares are of no more use
	tell(opened)
	for _, l := range opened {
		m.acceptor.Start(l)
	}
	m.dispatcher.Fill(spec)
	m.replaceListeners(closed)
	m.updateLimitTicker()
	return nil
}

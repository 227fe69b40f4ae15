package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/upgrade"
	"github.com/preforkd/preforkd/master/upgrade/fault"
)

// Upgrade implements control.Backend: another program takes over in this process. It
// returns when it has turned out not to, or with r.Check when it turns out that it could.
// w is the client that waits, nil if nobody does.
func (m *Master) Upgrade(ctx context.Context, r control.UpgradeRequest, by control.Peer, w *control.Waiter) (control.Upgraded, error) {
	return m.upgradeFor(ctx, r, requestedBy(by), w)
}

// upgradeBySignal is an upgrade that nobody waits for. The log says what becomes of it.
func (m *Master) upgradeBySignal(sig unix.Signal) {
	m.loop.background(func() {
		_, _ = m.upgradeFor(context.Background(), control.UpgradeRequest{}, unix.SignalName(sig), nil)
	})
}

func (m *Master) upgradeFor(ctx context.Context, r control.UpgradeRequest, by string, w *control.Waiter) (control.Upgraded, error) {
	a := upgrade.NewAttempt(r, w)
	var err error
	if asked := m.runOnLoop(ctx, func() { err = m.beginUpgrade(a, by) }); asked != nil || err != nil {
		return control.Upgraded{}, errors.Join(asked, err)
	}
	done, failure := a.Run(replaced{m}, func(pid int) { m.upgrades.rehearsal.Store(int64(pid)) })
	// Also if the client has gone by now.
	if err := m.runOnLoop(context.WithoutCancel(ctx), func() { m.endUpgrade(a, failure) }); err != nil {
		return control.Upgraded{}, err
	}
	if failure != nil {
		return control.Upgraded{}, control.NotUpgraded(string(failure.Step), errors.New(failure.Reason))
	}
	return done, nil
}

// beginUpgrade notes that an upgrade is under way.
func (m *Master) beginUpgrade(a *upgrade.Attempt, by string) (err error) {
	switch {
	case m.isEnding():
		err = control.Errorf(control.Conflict, "not upgraded: preforkd is stopping")
	case m.once.enabled:
		err = control.Errorf(control.Conflict, "not upgraded: preforkd serves a single connection")
	default:
		err = a.Begin(m.upgrades.Record)
	}
	if err != nil {
		m.log.Warn(logging.EventNotUpgraded, logging.Reason(err.Error()))
		if !a.IsAwaited() && !m.isEnding() { // the manager may have sent the signal, and wait
			m.notify.Reloading()
			m.notify.Ready()
		}
		return err
	}
	fields := []zap.Field{zap.String("from", ipc.Version), zap.String("binary", a.Path), logging.Reason(by)}
	if a.Request.Check {
		fields = append(fields, zap.Bool("check", true))
	}
	m.log.Info(logging.EventUpgrading, fields...)
	return nil
}

// endUpgrade notes that this program goes on.
func (m *Master) endUpgrade(a *upgrade.Attempt, failure *upgrade.Failure) {
	m.upgrades.End()
	if failure != nil && !a.Request.Check {
		m.noteUpgradeFailure(failure, a.Version)
	} else if failure != nil {
		m.log.Info(logging.EventNotUpgraded, zap.String("step", string(failure.Step)), logging.Reason(failure.Reason), zap.Bool("check", true))
	}
}

func (m *Master) noteUpgradeFailure(f *upgrade.Failure, to string) {
	m.upgrades.Failed(f, to, time.Now())
	m.log.Error(logging.EventNotUpgraded, zap.String("step", string(f.Step)), logging.Reason(f.Reason))
	// The manager may wait for the upgrade as for a reload (Type=notify-reload), of which it
	// knows nothing yet if the rehearsal has failed.
	m.notify.Reloading()
	m.notify.Ready()
	m.notify.NotUpgrading()
	m.notifyStatus()
}

// A replaced is the master as the upgrade.Replaced.
type replaced struct{ *Master }

// OnLoop implements upgrade.Replaced.
func (m replaced) OnLoop(f func() error) error {
	deadline := time.Now().Add(upgrade.Timeout)
	for {
		busy := false
		var err error
		asked := m.runOnLoop(context.Background(), func() {
			switch {
			case m.isEnding():
				err = errors.New("preforkd is stopping")
			case m.reloads.UnderWay():
				busy = true
			default:
				err = f()
			}
		})
		switch {
		case asked != nil:
			return asked
		case !busy:
			return err
		case time.Now().After(deadline):
			return errors.New("a reload does not come to an end")
		}
		time.Sleep(reloadPause)
	}
}

// reloadPause is how often it is looked whether a reload is over.
const reloadPause = 10 * time.Millisecond

// InForce implements upgrade.Replaced.
func (m replaced) InForce() []*service.Service { return m.services.inForce }

// Settle implements upgrade.Replaced.
func (m replaced) Settle() (wait func(), err error) {
	if err := m.workers.TakeBack(); err != nil {
		return nil, err
	}
	return m.admin.Settle()
}

// ServeOperators implements upgrade.Replaced, off the loop.
func (m replaced) ServeOperators() { _ = m.runOnLoop(context.Background(), m.admin.Resume) }

// Describe implements upgrade.Replaced. The master stands still meanwhile.
func (m replaced) Describe(specs *service.SpecRecorder) (s *upgrade.State, err error) {
	err = m.whileStanding(func() error {
		s, err = m.export(carry.NewDescriptors(), specs, carry.None)
		return err
	})
	return s, err
}

// whileStanding runs f while the master stands still.
func (m *Master) whileStanding(f func() error) error {
	if err := m.pause(); err != nil {
		return err
	}
	defer m.resume(len(m.standing()))
	defer m.endExport()
	return f()
}

// HandOver implements upgrade.Replaced.
func (m replaced) HandOver(a *upgrade.Attempt, program *os.File, h upgrade.Header) (step upgrade.Step, err error) {
	step = upgrade.StepExport
	trace, err := upgrade.NewTrace(h.To)
	if err != nil {
		return step, err
	}
	defer trace.Close()
	if err := m.notify.Upgrading(trace.File()); err != nil {
		return step, err
	}
	err = m.whileStanding(func() error {
		d := carry.NewDescriptors()
		waiter, err := a.DetachWaiter(d)
		if err != nil {
			return err
		}
		if err := fault.At(string(upgrade.StepExport)); err != nil {
			return err
		}
		s, err := m.export(d, &a.Specs, waiter)
		if err != nil {
			return err
		}
		step = upgrade.StepExec
		if err := fault.At(string(upgrade.StepExec)); err != nil {
			return err
		}
		return upgrade.Execute(program, h, s, d, trace, m.loop.signals)
	})
	return step, err
}

// pauseTimeout is how long one room may take to stand still.
const pauseTimeout = 2 * time.Second

// pause has everything stand still that the master does: afterwards nothing is accepted,
// spawned, read or reaped, until resume. On error nothing stands still.
func (m *Master) pause() error {
	for i, room := range m.standing() {
		if err := room.pause(); err != nil {
			m.resume(i)
			return err
		}
	}
	return nil
}

// resume has the first n of the rooms go on that stand still: after a pause, or after
// takeOver has restored them. Those that others need come first.
func (m *Master) resume(n int) {
	rooms := m.standing()
	for i := n - 1; i >= 0; i-- {
		rooms[i].resume()
	}
}

// A standing is a room that can stand still.
type standing struct {
	pause  func() error
	resume func()
}

// standing returns the rooms that stand still for an upgrade, in the order of a
// connection's walk: nobody passes on anything to one that stands still.
func (m *Master) standing() []standing {
	return []standing{
		{m.admin.Pause, m.admin.Resume},
		{func() error { return m.acceptor.Pause(pauseTimeout) }, m.acceptor.Proceed},
		{m.pauseStarts, m.dispatcher.Resume},
		{func() error { return m.services.boxes.Pause(time.Now().Add(pauseTimeout)) }, m.services.boxes.Resume},
		{m.workers.Pause, m.workers.Resume},
		{func() error { m.services.stderr.Pause(); return nil }, m.services.stderr.Resume},
		{func() error { return m.log.Pause(pauseTimeout) }, m.log.Resume},
	}
}

// pauseStarts has nothing be started any more, and waits for what is being started.
func (m *Master) pauseStarts() error {
	m.dispatcher.PauseFilling()
	timeout := time.NewTimer(pauseTimeout)
	defer timeout.Stop()
	for m.takeOutcomes(); m.dispatcher.InFlight() > 0; m.takeOutcomes() {
		select {
		case <-m.dispatcher.Wake():
		case <-timeout.C:
			n := m.dispatcher.InFlight()
			m.dispatcher.Resume()
			return fmt.Errorf("%d starts of programs do not come to an end", n)
		}
	}
	return nil
}

// export returns the state of a master that stands still. d gets the descriptors that go
// over. The caller calls endExport if no other program takes over.
func (m *Master) export(d *carry.Descriptors, specs *service.SpecRecorder, waiter carry.FD) (s *upgrade.State, err error) {
	s = &upgrade.State{
		Upgrades: m.upgrades.Upgrades,
		IDs:      m.origin.ids.Export(),
		Binaries: m.services.binaries.Export(d),
		Reloads:  m.reloads.Export(),
		Master: upgrade.MasterState{
			Started: m.origin.started, Config: m.services.cfg.TOML(), SocketsPassed: m.origin.socketsPassed, Waiter: waiter,
			Generation: m.services.generation, InForce: len(m.services.inForce), Retired: m.services.retired, Dropped: m.dropped(),
		},
	}
	for _, svc := range append(slices.Clone(m.services.inForce), m.services.unused()...) {
		s.Services = append(s.Services, svc.Export(specs))
	}
	if s.Sockets, err = m.endpoints.Export(d); err != nil {
		return nil, err
	}
	if s.Admin, err = m.admin.Export(d); err != nil {
		return nil, err
	}
	s.Accept = m.acceptor.Export(d, specs)
	if s.Dispatch, err = m.dispatcher.Export(specs); err != nil {
		return nil, err
	}
	boxes, err := m.services.boxes.Export(d)
	if err != nil {
		return nil, err
	}
	s.Boxes = &boxes
	if s.Workers, err = m.workers.Export(d, specs); err != nil {
		return nil, err
	}
	if s.Stderr, err = m.services.stderr.Export(d); err != nil {
		return nil, err
	}
	s.Specs = specs.States()
	s.Log = m.log.Export() // nothing that is logged from here on goes over
	return s, nil
}

// dropped returns what is there, is not handed over, and somebody would miss.
func (m *Master) dropped() (dropped []string) {
	if n := m.services.learning.Len(); n > 0 {
		dropped = append(dropped, upgrade.Observations.Of(n))
	}
	return dropped
}

// endExport undoes what an export holds for a program that does not take over.
func (m *Master) endExport() { m.endpoints.DropCopies() }

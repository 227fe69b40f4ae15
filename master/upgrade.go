package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/upgrade"
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
	begun := time.Now()
	var path string
	var err error
	if asked := m.runOnLoop(ctx, func() { path, err = m.beginUpgrade(r, by) }); asked != nil || err != nil {
		return control.Upgraded{}, errors.Join(asked, err)
	}
	u := &upgrading{master: m, request: r, begun: begun, path: path, waiter: w}
	done, failure := u.run()
	// Also if the client has gone by now.
	if err := m.runOnLoop(context.WithoutCancel(ctx), func() { m.endUpgrade(u, failure) }); err != nil {
		return control.Upgraded{}, err
	}
	if failure != nil {
		return control.Upgraded{}, control.NotUpgraded(string(failure.Step), errors.New(failure.Reason))
	}
	return done, nil
}

// beginUpgrade notes that an upgrade is under way, and returns the path of the program.
func (m *Master) beginUpgrade(r control.UpgradeRequest, by string) (path string, err error) {
	switch {
	case m.isEnding():
		err = control.Errorf(control.Conflict, "not upgraded: preforkd is stopping")
	case m.once.enabled:
		err = control.Errorf(control.Conflict, "not upgraded: preforkd serves a single connection")
	default:
		err = m.upgrades.Begin()
	}
	if err != nil {
		m.log.Warn(logging.EventNotUpgraded, logging.Reason(err.Error()))
		return "", err
	}
	path = m.upgrades.Binary(r.Binary)
	m.log.Info(logging.EventUpgrading, logging.Reason(by), zap.String("binary", path), zap.Bool("check", r.Check))
	return path, nil
}

// endUpgrade notes that this program goes on.
func (m *Master) endUpgrade(u *upgrading, failure *upgrade.Failure) {
	m.upgrades.End()
	if failure != nil && !u.request.Check {
		m.noteUpgradeFailure(failure, u.version)
	} else if failure != nil {
		m.log.Info(logging.EventNotUpgraded, zap.String("step", string(failure.Step)), logging.Reason(failure.Reason), zap.Bool("check", true))
	}
}

func (m *Master) noteUpgradeFailure(f *upgrade.Failure, to string) {
	m.upgrades.Failed(f, to, time.Now())
	m.log.Error(logging.EventNotUpgraded, zap.String("step", string(f.Step)), logging.Reason(f.Reason))
	m.notify.Ready()
	m.notifyStatus()
}

// An upgrading is an upgrade under way, from the side of the program that is to be
// replaced. Its methods run off the loop.
type upgrading struct {
	master  *Master
	request control.UpgradeRequest
	begun   time.Time
	path    string // of the program
	waiter  *control.Waiter
	version string // of the program, when it has said so
}

// run goes through the steps. It returns when one has failed, or with Check after the
// rehearsal.
func (u *upgrading) run() (control.Upgraded, *upgrade.Failure) {
	binary, err := upgrade.OpenBinary(u.path)
	if err != nil {
		return u.failed(upgrade.StepBinary, err)
	}
	defer binary.Close()
	format, answer, step, err := u.rehearse(binary)
	if err != nil {
		return u.failed(step, err)
	}
	if answer.Error != "" {
		return u.failed(upgrade.StepRehearsal, fmt.Errorf("%s: %s", answer.Step, answer.Error))
	}
	if u.request.Check {
		return control.Upgraded{
			From: ipc.Version, To: u.version, Generation: u.master.upgrades.Generation() + 1, Check: true,
			Workers: answer.Workers, Dropped: upgrade.Dropped(),
		}, nil
	}
	step, err = u.exec(binary, format)
	return u.failed(step, err)
}

func (u *upgrading) failed(step upgrade.Step, err error) (control.Upgraded, *upgrade.Failure) {
	return control.Upgraded{}, &upgrade.Failure{Step: step, Reason: upgrade.OneLine(err.Error())}
}

// rehearse has the program rehearse on a copy of the state.
func (u *upgrading) rehearse(binary *os.File) (format int, a upgrade.Answer, step upgrade.Step, err error) {
	r, err := upgrade.Rehearse(binary, u.path)
	if err != nil {
		return 0, a, upgrade.StepRehearsal, err
	}
	defer r.End()
	u.version = r.Version
	if format, err = r.Format(); err != nil {
		return 0, a, upgrade.StepRehearsal, err
	}
	h := u.header(format, time.Now())
	var s *upgrade.State
	if err := u.onLoop(func() (err error) {
		s, err = u.master.describe(carry.NewDescriptors())
		return err
	}); err != nil {
		return 0, a, upgrade.StepExport, err
	}
	data, err := upgrade.Encode(&h, s)
	if err != nil {
		return 0, a, upgrade.StepExport, err
	}
	a, err = r.Run(data)
	return format, a, upgrade.StepRehearsal, err
}

// exec executes the program. It returns only on failure.
func (u *upgrading) exec(binary *os.File, format int) (step upgrade.Step, err error) {
	step = upgrade.StepExport
	err = u.onLoop(func() error {
		step, err = u.master.handOver(u, binary, format)
		return err
	})
	return step, err
}

func (u *upgrading) header(format int, paused time.Time) upgrade.Header {
	h := u.master.upgrades.Header(u.request.Config, u.begun, paused)
	h.Format = format
	return h
}

// onLoop runs f on the loop, when no reload is under way, and returns its error.
func (u *upgrading) onLoop(f func() error) error {
	deadline := time.Now().Add(upgrade.Timeout)
	for {
		busy := false
		var err error
		asked := u.master.runOnLoop(context.Background(), func() {
			switch {
			case u.master.isEnding():
				err = errors.New("preforkd is stopping")
			case u.master.reloads.UnderWay():
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

// describe returns the state of the master, which stands still meanwhile and then goes on.
func (m *Master) describe(d *carry.Descriptors) (*upgrade.State, error) {
	resume, err := m.pause()
	if err != nil {
		return nil, err
	}
	defer resume()
	return m.export(d, nil)
}

// handOver executes the program that takes over. It returns only on failure, and then the
// master goes on.
func (m *Master) handOver(u *upgrading, binary *os.File, format int) (upgrade.Step, error) {
	h := u.header(format, time.Now())
	m.notify.Upgrading()
	resume, err := m.pause()
	if err != nil {
		return upgrade.StepExport, err
	}
	defer resume()
	d := carry.NewDescriptors()
	s, err := m.export(d, u.waiter)
	if err != nil {
		return upgrade.StepExport, err
	}
	return upgrade.StepExec, upgrade.Execute(binary, h, s, d)
}

// pauseTimeout is how long one room may take to stand still.
const pauseTimeout = 2 * time.Second

// pause has everything stand still that the master does: afterwards nothing is accepted,
// spawned, read or reaped. resume has it go on. On error it has.
func (m *Master) pause() (resume func(), err error) {
	var paused []func()
	resume = func() {
		for i := len(paused) - 1; i >= 0; i-- {
			paused[i]()
		}
	}
	for _, room := range []struct {
		pause  func() error
		resume func()
	}{
		{m.admin.Pause, m.admin.Resume},
		{m.acceptor.Pause, m.acceptor.Resume},
		{m.pauseStarts, m.dispatcher.Resume},
		{m.services.boxes.Pause, m.services.boxes.Resume},
		{m.workers.Pause, m.workers.Resume},
		{m.services.stderr.Pause, m.services.stderr.Resume},
		{m.endpoints.Pause, m.endpoints.Resume},
	} {
		if err := room.pause(); err != nil {
			resume()
			return nil, err
		}
		paused = append(paused, room.resume)
	}
	return resume, nil
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
			m.dispatcher.Resume()
			return fmt.Errorf("%d starts of programs do not come to an end", m.dispatcher.InFlight())
		}
	}
	return nil
}

// export returns the state of a master that stands still. d gets the descriptors that go
// over.
func (m *Master) export(d *carry.Descriptors, w *control.Waiter) (*upgrade.State, error) {
	var specs service.SpecRecorder
	s := &upgrade.State{
		Master:   m.exportMaster(),
		Upgrades: m.upgrades.Export(),
	}
	_ = specs
	return s, nil
}

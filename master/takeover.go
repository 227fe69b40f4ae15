package master

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/reloading"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/signals"
	"github.com/preforkd/preforkd/master/stderr"
	"github.com/preforkd/preforkd/master/systemd"
	"github.com/preforkd/preforkd/master/upgrade"
	"github.com/preforkd/preforkd/master/workers"
)

// upgrades are those of a master, the one included by which it took over.
type upgrades struct {
	*upgrade.Record
	takeover *upgrade.Takeover // nil for a master that was started
	change   change            // what it has changed of the configuration
	former   *process.Binaries // worker binaries of the program before, which may need them
	// rehearsal is the pid of the last program that has rehearsed as a child, or 0.
	rehearsal *atomic.Int64
}

// TakeOver makes a master of what another program has handed over in this process
// (package upgrade), and puts the configuration in force that was read anew, as a reload
// does. Until Run serves, the process is still the other program's: on error nothing is
// closed or undone, and the caller has t go back.
func TakeOver(t *upgrade.Takeover, cfg config.Config, file string, manager *systemd.Manager, caught *signals.Queue, logger *logging.Logger) (*Master, error) {
	s := t.State
	ids, err := service.RestoreIDs(&s.IDs)
	if err != nil {
		return nil, err
	}
	from := origin{started: s.Master.Started, file: file, socketsPassed: s.Master.SocketsPassed, ids: ids}
	m, err := assemble(cfg, from, manager, caught, logger, seams{})
	if err != nil {
		return nil, err
	}
	m.upgrades = upgrades{Record: t.Record(), takeover: t, rehearsal: &atomic.Int64{}}
	m.reloads = reloading.Restore(&s.Reloads, file)
	m.loop.catchChildren()
	if err := m.restore(s, t.Descriptors, cfg); err != nil {
		return nil, err
	}
	return m, nil
}

// takeTraces notes an upgrade in which the process before this one has died, if the
// service manager passes a trace of it. It takes over the descriptors.
func (m *Master) takeTraces(traces []systemd.Socket) {
	defer systemd.CloseAll(traces)
	for _, trace := range traces {
		f, err := upgrade.ReadTrace(trace.FD)
		if err != nil {
			m.log.Warn("service manager", logging.Error(fmt.Errorf("trace of an upgrade: %w", err)))
			continue
		}
		m.upgrades.Died(f)
		m.log.Error(logging.EventNotUpgraded, zap.String("step", f.Step), logging.Reason(f.Reason), zap.Time("at", f.At))
	}
}

// restore gives the rooms what another program has handed over, and puts the
// configuration in force.
func (m *Master) restore(s *upgrade.State, d *carry.Descriptors, cfg config.Config) error {
	binaries, err := process.RestoreBinaries(s.Binaries, d)
	if err != nil {
		return err
	}
	m.upgrades.former = binaries
	if m.upgrades.takeover.Failure != nil { // they are this program's
		m.services.binaries, m.upgrades.former = binaries, m.services.binaries
	}
	if s.Boxes != nil {
		if err := m.services.boxes.Restore(s.Boxes, d); err != nil {
			return err
		}
	}
	if err := m.services.stderr.Restore(&s.Stderr, d); err != nil {
		return err
	}
	c, err := m.services.compile(&cfg, nil)
	if err != nil {
		return err
	}
	c.keepsDrains = true
	specs, err := m.services.restore(s, c.specs)
	if err != nil {
		return err
	}
	if err := m.restoreConnections(s, d, specs); err != nil {
		return err
	}
	if err := m.admin.Restore(&s.Admin, d); err != nil {
		return err
	}
	if _, err := d.Take(s.Master.Waiter); err != nil {
		return err
	}
	if err := m.upgrades.takeover.At(upgrade.StepInstall); err != nil {
		return err
	}
	if m.upgrades.change, err = m.installPatiently(c); err == nil {
		m.upgrades.takeover.OnGoBack(m.removeOpened)
	}
	return err
}

// removeOpened closes the sockets that the program has opened which takes over, with their
// files. The log goes over with the State, so nobody would read of an error.
func (m *Master) removeOpened() {
	endpoints.Discard(m.upgrades.change.opened)
	_ = m.admin.Undo()
}

// restore makes the services again that another program has handed over. compiled are the
// Specs that are going to be put in force.
func (s *services) restore(state *upgrade.State, compiled []*service.Spec) (*service.RestoredSpecs, error) {
	specs, err := service.RestoreSpecs(state.Specs, compiled)
	if err != nil {
		return nil, err
	}
	if n := state.Master.InForce; n < 0 || n > len(state.Services) {
		return nil, fmt.Errorf("%d of %d services are in force", n, len(state.Services))
	}
	if err := state.Master.Retired.Check(); err != nil {
		return nil, err
	}
	s.generation, s.retired = state.Master.Generation, state.Master.Retired
	for i := range state.Services {
		svc, err := service.RestoreService(&state.Services[i], specs, s.log)
		if err != nil {
			return nil, err
		}
		inForce := i < state.Master.InForce
		if inForce != s.isInForce(svc) {
			return nil, fmt.Errorf("service %s: it is of configuration %d, and %d is in force", svc.Name, svc.Generation, s.generation)
		}
		s.byName[svc.Name] = svc
		if inForce {
			s.inForce = append(s.inForce, svc)
		}
	}
	return specs, nil
}

// restoreConnections gives the rooms back what a connection passes.
func (m *Master) restoreConnections(s *upgrade.State, d *carry.Descriptors, specs *service.RestoredSpecs) error {
	specOf := func(name string) *service.Spec {
		if svc := m.services.byName[name]; svc != nil {
			return svc.Spec()
		}
		return nil
	}
	if err := m.endpoints.Restore(&s.Sockets, d, specOf); err != nil {
		return err
	}
	m.dispatcher.PauseFilling() // as the others are when they are restored
	for _, svc := range m.services.inForce {
		if spec := svc.Spec(); spec.CheckCurrent() == nil && !svc.Draining() {
			m.dispatcher.Open(spec)
		}
	}
	if err := m.dispatcher.Restore(&s.Dispatch, specs); err != nil {
		return err
	}
	if s.Workers == nil {
		return errors.New("nothing is said of workers")
	}
	options := workers.RestoreOptions{Version: ipc.Version, Pool: m.dispatcher.Pool, Redact: m.services.redact}
	if err := m.workers.Restore(s.Workers, d, specs, options); err != nil {
		return err
	}
	if err := m.acceptor.Restore(&s.Accept, d, specs, func(name string) *service.Service { return m.services.byName[name] }); err != nil {
		return err
	}
	for i := range s.Services {
		if err := m.services.byName[s.Services[i].Name].CheckRestored(&s.Services[i]); err != nil {
			return err
		}
	}
	return nil
}

// beginAgain begins to serve what another program has handed over. On error the process
// is still the other program's.
func (m *Master) beginAgain() error {
	t := m.upgrades.takeover
	if err := t.At(upgrade.StepServe); err != nil {
		return err
	}
	if err := m.loop.once(); err != nil {
		return err
	}
	m.notify.Ready()
	for _, fd := range t.End() {
		m.log.Warn("descriptor without an owner", zap.Int("fd", fd))
	}
	// From here on this program serves.
	now := time.Now()
	m.upgrades.former.Close()
	m.endpoints.Touch()
	for _, l := range append(m.endpoints.All(), m.endpoints.Replaced()...) {
		if !slices.Contains(m.upgrades.change.opened, l) {
			m.acceptor.Continue(l)
		}
	}
	m.resume(len(m.standing()))
	m.loop.background(renewThreads)
	go m.services.memory.Now()
	change := m.upgrades.change
	for _, svc := range m.services.inForce {
		if !svc.Draining() && !slices.Contains(change.added, svc) && !slices.Contains(change.changed, svc) {
			m.dispatcher.Fill(svc.Spec())
		}
	}
	m.serveChange(change)
	m.reportUpgrade(now)
	m.notifyStatus()
	return nil
}

// reportUpgrade says how the upgrade has ended by which this program serves.
func (m *Master) reportUpgrade(now time.Time) {
	t := m.upgrades.takeover
	var done control.Upgraded
	var failed error
	if f := t.Failure; f != nil {
		m.noteUpgradeFailure(f, t.Header.To)
		failed = control.NotUpgraded(string(f.Step), errors.New(f.Reason))
	} else {
		done = m.upgrades.Succeeded(&t.Header, now)
		done.Workers, done.Dropped = m.workers.Len(), t.State.Master.Dropped
		m.notify.NotUpgrading()
		m.log.Info(logging.EventUpgraded, zap.String("from", done.From), zap.String("to", done.To),
			logging.Duration(now.Sub(t.Header.Begun.Time())), zap.Duration("pause", now.Sub(t.Header.Paused.Time())),
			zap.Int("workers", done.Workers), zap.Strings("dropped", done.Dropped))
	}
	if m.reloads.File() != nil {
		changes := m.upgrades.change.show()
		if done.Reloaded = &changes; !m.upgrades.change.isEmpty() {
			logReloaded(m.log, &changes)
		}
	}
	m.upgrades.takeover, m.upgrades.change = nil, change{}
	if waiter := t.State.Master.Waiter; waiter != carry.None {
		m.loop.background(func() {
			if err := control.AnswerUpgrade(int(waiter), done, failed); err != nil {
				m.log.Debug("upgrade not answered", logging.Error(err))
			}
		})
	}
}

// Rehearse does what TakeOver does as far as it touches nothing, and returns at which step
// it fails.
func Rehearse(s *upgrade.State, cfg config.Config, log *zap.Logger) (upgrade.Step, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return upgrade.StepConfig, err
	}
	defer null.Close()
	outputs := stderr.NewOutputs(os.Stderr, func([]byte) {}, process.LeaderOf, func(error) {})
	defer outputs.Close()
	rooms := services{
		null: null, stderr: outputs, binaries: process.NewBinaries(), log: log, byName: map[string]*service.Service{},
	}
	defer rooms.binaries.Close()
	c, err := rooms.compile(&cfg, nil)
	if err != nil {
		return upgrade.StepConfig, err
	}
	if _, err := rooms.restore(s, c.specs); err != nil {
		return upgrade.StepRestore, err
	}
	return "", nil
}

package master

import (
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// A phase is how far the master has come in stopping. It only ever grows.
type phase int

const (
	running     phase = iota // accepting, or with Once: serving the one connection
	draining                 // live connections may finish
	terminating              // every worker's group has had SIGTERM
	killing                  // every worker's group has had SIGKILL
)

func (p phase) String() string {
	return [...]string{"serving", "draining", "terminating", "killing"}[p]
}

// killTime is the least that the kernel gets to end what has had SIGKILL,
// before it counts as not ending. KillDelay is for processes that have something
// to finish, and may be nothing.
const killTime = 5 * time.Second

// stopState is the progress of a stop. The loop owns it.
type stopState struct {
	phase   phase
	timeout <-chan time.Time // when the phase has lasted long enough; nil while serving

	// signalled holds the orphans that have had this phase's signal and are
	// not reaped yet.
	signalled map[int]bool
}

// drain begins to stop: nothing more is accepted, live connections may finish.
func (m *Master) drain(reason string) {
	if m.stop.phase != running {
		return
	}
	m.stop.phase = draining
	m.stop.timeout = time.After(m.cfg.DrainTimeout)
	m.manager.Stopping()
	m.manager.Extend(stopStep)
	m.tellStatus()
	m.log.Info(logging.EventDraining, logging.Reason(reason),
		zap.Uint64("live", m.sums().live()), zap.Duration("timeout", m.cfg.DrainTimeout))
	m.stopAccepting()
	m.sendDrain()
}

// sendDrain tells every worker that listens to come to an end.
func (m *Master) sendDrain() {
	for _, w := range m.table.workers {
		w.tellDrain()
	}
}

// tellDrain tells a worker with a connection to come to an end. To one that is
// about to read its assignment it says so after that.
func (w *worker) tellDrain() {
	p := w.service.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.conn != nil && (w.state == serving || w.state == assigned) && w.child.Control >= 0 {
		// A worker that is about to exit, or a program that knows nothing of
		// messages, does not hear it; neither needs to.
		w.use(func(channel int) { _ = ipc.Send(channel, ipc.Drain) })
	}
}

// escalate ends the wait of one phase and begins the next: SIGTERM for
// everything that is left, then SIGKILL. It reports false when there is no
// next one.
func (m *Master) escalate() bool {
	if m.stop.phase == killing {
		return false
	}
	m.stop.phase++
	m.stop.signalled = make(map[int]bool)
	sig := m.stop.signal()
	orphans := process.Orphans(m.table.has)
	m.log.Warn("stopping workers", logging.Signal(sig),
		zap.Int("workers", len(m.table.workers)), zap.Int("orphans", len(orphans)))
	for pid := range m.table.workers {
		m.signalGroup(pid, sig)
	}
	m.signalOrphans(orphans)
	// The time begins now: on a busy machine the way here may have taken
	// longer than the whole delay.
	delay := m.cfg.KillDelay
	if m.stop.phase == killing {
		delay = max(delay, killTime)
	}
	m.stop.timeout = time.After(delay)
	return true
}

// signalOrphans sends the orphans among them that have not had it yet what all
// others have had in this phase. There may always be new ones: when an orphan
// ends, its own children are the next.
func (m *Master) signalOrphans(orphans []int) {
	for _, pid := range orphans {
		if m.stop.signalled[pid] {
			continue
		}
		m.stop.signalled[pid] = true
		if err := unix.Kill(pid, m.stop.signal()); err != nil && err != unix.ESRCH {
			m.log.Warn("signal orphan", logging.PID(pid), logging.Error(err))
		}
	}
}

// signal returns what the workers have had in this phase, or 0.
func (s *stopState) signal() unix.Signal {
	switch s.phase {
	case terminating:
		return unix.SIGTERM
	case killing:
		return unix.SIGKILL
	}
	return 0
}

// catchUp sends a worker whose spawn was under way what all others have had
// already.
func (m *Master) catchUp(pid int) {
	if sig := m.stop.signal(); sig != 0 {
		m.signalGroup(pid, sig)
	}
}

// signalGroup signals the group of a registered worker.
func (m *Master) signalGroup(pid int, sig unix.Signal) {
	if err := process.SignalGroup(pid, sig); err != nil {
		// The worker is not reaped, so its group exists; EPERM is left, when
		// it has changed to another user.
		m.log.Warn("signal worker", logging.PID(pid), logging.Signal(sig), logging.Error(err))
	}
	if sig == unix.SIGTERM {
		// A stopped process acts on SIGTERM when it goes on, and not before.
		_ = process.SignalGroup(pid, unix.SIGCONT)
	}
}

// finished reports whether, with accepting over, nothing is left to do: nothing
// is being spawned, every worker is reaped, and nothing that a worker left
// behind is alive. What is left behind has no connection to finish and is
// stopped as soon as the last worker is gone.
func (m *Master) finished() bool {
	if m.spawning.Load() > 0 || len(m.table.workers) > 0 {
		return false
	}
	orphans := process.Orphans(m.table.has)
	if len(orphans) == 0 {
		return true
	}
	if m.stop.phase < terminating {
		m.stop.phase = draining
		m.escalate()
	} else {
		m.signalOrphans(orphans)
	}
	return false
}

package master

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/workers"
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

// A phaseEvent is what may begin the next phase.
type phaseEvent int

const (
	drainRequested phaseEvent = iota // SIGTERM, or the control socket
	interrupted                      // SIGINT: a first one drains, a further one skips a wait
	quitRequested                    // SIGQUIT
	timedOut                         // the phase has lasted long enough
	orphansLeft                      // all workers are gone, and what they started is not
)

// next returns the phase that follows an event. It is the only place that
// decides about that.
func (p phase) next(e phaseEvent) phase {
	switch e {
	case drainRequested:
		return max(p, draining)
	case quitRequested, orphansLeft:
		// What a worker has left behind has no connection to finish.
		return max(p, terminating)
	}
	return min(p+1, killing)
}

// killTime is the least that the kernel gets to end what has had SIGKILL, before
// it counts as not ending. KillDelay is for processes that have something to
// finish, and may be nothing.
const killTime = 5 * time.Second

// stopExtension is how much time the service manager is asked for at once while the
// master stops. The stop itself is bounded by drain-timeout and kill-delay.
const stopExtension = 15 * time.Second

// phases is the progress of a stop.
type phases struct {
	now     phase
	timeout <-chan time.Time // when the phase has lasted long enough; nil while running

	// signalled holds the orphans that have had this phase's signal and are not
	// reaped yet.
	signalled map[int]bool
}

// is returns the present phase.
func (p *phases) is() phase { return p.now }

// signal returns what the workers have had in this phase, or 0.
func (p *phases) signal() unix.Signal {
	switch p.now {
	case terminating:
		return unix.SIGTERM
	case killing:
		return unix.SIGKILL
	}
	return 0
}

// advance goes on to the phase that follows an event, if it does. No other
// function changes the phase. reason says in the log why the master drains.
func (m *Master) advance(e phaseEvent, reason string) {
	to := m.phase.now.next(e)
	if to == m.phase.now {
		if e == orphansLeft {
			// When an orphan ends, its own children are the next ones.
			m.signalOrphans(m.orphans())
		}
		return
	}
	if m.phase.now == running && e != orphansLeft {
		m.drain(reason)
	}
	if to >= terminating {
		m.endWorkers(to)
	}
}

// drain begins to stop: nothing more is accepted, live connections may finish.
func (m *Master) drain(reason string) {
	m.phase.now = draining
	m.phase.timeout = time.After(m.services.cfg.DrainTimeout)
	m.notify.Stopping()
	m.notify.Extend(stopExtension)
	m.notifyStatus()
	m.log.Info(logging.EventDraining, logging.Reason(reason),
		zap.Uint64("live", m.services.totals().Live()), zap.Duration("timeout", m.services.cfg.DrainTimeout))
	m.stopAccepting()
	for w := range m.workers.All() {
		w.Drain()
	}
}

// endWorkers begins a phase in which everything that is left is ended by a
// signal.
func (m *Master) endWorkers(to phase) {
	m.phase.now = to
	m.phase.signalled = make(map[int]bool)
	sig := m.phase.signal()
	orphans := m.orphans()
	m.log.Warn("stopping workers", logging.Signal(sig),
		zap.Int("workers", m.workers.Len()), zap.Int("orphans", len(orphans)))
	for w := range m.workers.All() {
		m.signalWorker(w, sig)
	}
	m.signalOrphans(orphans)
	m.checkLeftovers(time.Now())
	// The time begins now: on a busy machine the way here may have taken longer
	// than the whole delay.
	delay := m.services.cfg.KillDelay
	if to == killing {
		delay = max(delay, killTime)
	}
	m.phase.timeout = time.After(delay)
}

// stopAccepting closes every listener and retires every spare. It may be called
// more than once.
func (m *Master) stopAccepting() {
	if m.loop.isStopping() {
		return
	}
	close(m.loop.stopping)
	now := time.Now()
	for _, s := range m.services.inForce {
		m.dispatcher.Close(s.Spec(), now)
	}
	m.endpoints.CloseAll()
	m.acceptor.Stop()
}

// isEnding reports whether the master comes to an end: it drains, or with Once has
// its one connection and takes no other.
func (m *Master) isEnding() bool { return m.phase.is() != running || m.loop.isStopping() }

// isIdle reports whether nothing is being started and every worker is reaped.
func (m *Master) isIdle() bool { return m.dispatcher.InFlight() == 0 && m.workers.Len() == 0 }

// orphans returns what workers have left behind.
func (m *Master) orphans() []int { return process.Orphans(m.workers.Has, m.workers.HasLed) }

// signalOrphans sends the orphans that have not had it yet what all others have
// had in this phase.
func (m *Master) signalOrphans(orphans []int) {
	for _, pid := range orphans {
		if m.phase.signalled[pid] {
			continue
		}
		m.phase.signalled[pid] = true
		if err := unix.Kill(pid, m.phase.signal()); err != nil && err != unix.ESRCH {
			m.log.Warn("signal orphan", logging.PID(pid), logging.Error(err))
		}
	}
}

// signalWorker signals the group of a registered worker.
func (m *Master) signalWorker(w *workers.Worker, sig unix.Signal) {
	if err := w.Signal(sig); err != nil {
		// The worker is not reaped, so its group exists. EPERM is left, when
		// the worker has changed to another user.
		m.log.Warn("signal worker", logging.PID(w.PID()), logging.Signal(sig), logging.Error(err))
	}
}

// abandon gives up on what SIGKILL did not end: a process in uninterruptible
// sleep, or a start that does not return. Waiting for it could take for ever.
func (m *Master) abandon() (Result, error) {
	m.endLoop()
	orphans := m.orphans()
	err := fmt.Errorf("%d workers, %d of their children and %d spawns did not end",
		m.workers.Len(), len(orphans), m.dispatcher.InFlight())
	for w := range m.workers.All() {
		w.Owner().Log.Error("left behind", logging.PID(w.PID()), logging.Reason(w.State().String()))
	}
	for _, pid := range orphans {
		m.log.Error("left behind", logging.PID(pid))
	}
	m.services.stderr.Flush()
	m.log.Error(logging.EventStopped, append(m.services.totals().Fields(), logging.Error(err))...)
	return Result{ExitCode: 1}, err
}

// awaitLingering waits until the last clients have read the ends of their answers,
// for as long as connections may linger. A master that does not wait for live
// connections does not wait for these either, and a further SIGINT or SIGQUIT ends
// the wait.
func (m *Master) awaitLingering() {
	if m.phase.is() >= terminating {
		return
	}
	timeout := time.NewTimer(linger.MaxTime)
	defer timeout.Stop()
	for done := m.workers.Linger().Lingering(); ; {
		select {
		case <-done:
			return
		case <-timeout.C:
			return
		case sig := <-m.loop.signals.Next():
			if sig == unix.SIGINT || sig == unix.SIGQUIT {
				return
			}
		case <-m.loop.children:
			m.workers.ReapAll()
		case call := <-m.loop.calls:
			call()
		case <-m.notify.Due():
			m.notifyWatchdog()
		}
	}
}

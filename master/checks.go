package master

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/sockdiag"
	"github.com/preforkd/preforkd/master/workers"
)

// limitInterval is how often limits are checked that are a matter of time.
const limitInterval = time.Second

// checkLimits ends workers that stay too long in a state that is meant to pass,
// and those that should have ended their connection, for its age or because it
// is idle, and have not. It lets the pools shrink, and says how many refusals
// the log has kept silent about.
func (m *Master) checkLimits(now time.Time) {
	m.takeOutcomes() // nothing else may have made it known that there are some
	killDelay := m.services.cfg.KillDelay
	for w := range m.workers.All() {
		sig := w.TimeoutSignal(now, killDelay)
		if sig == 0 {
			sig = w.IdleSignal(now, killDelay, func(pid int) (time.Duration, error) { return idleTime(w, pid) })
		}
		if sig == 0 {
			sig = w.CPUSignal(now, killDelay)
		}
		if sig != 0 {
			m.endOverdue(w, sig, w.State().String())
		} else if sig = w.HangUpSignal(now, killDelay); sig != 0 {
			m.endOverdue(w, sig, reasonHangUp)
		}
	}
	m.checkLeftovers(now)
	m.workers.AskHangUps(now)
	m.workers.LookForEarlyCloses(now)
	for _, s := range m.services.inForce {
		if !s.Draining() {
			m.dispatcher.Pool(s.Spec()).Shrink(now)
		}
	}
	for _, s := range m.services.byName {
		s.LogSuppressed(now)
	}
	m.updateLimitTicker()
}

// idleTime asks the kernel how long the connection of a worker has been idle: by
// its addresses, which needs no right to the worker, or else by its descriptor
// where sock_diag is not to be had or does not see the connection.
func idleTime(w *workers.Worker, pid int) (time.Duration, error) {
	c, s := w.Connection(), w.Owner()
	if c == nil || !c.Socket().Local.IsValid() {
		return 0, errNotTCP
	}
	idle, err := sockdiag.Idle(c.Socket())
	if err != nil {
		var pidErr error
		idle, pidErr = process.Idle(pid)
		switch {
		case pidErr == nil:
			err = nil
		case errors.Is(err, sockdiag.ErrNoConnection), errors.Is(pidErr, unix.ESRCH), errors.Is(pidErr, unix.EBADF):
			return 0, err // it is just ending
		default:
			err = errors.Join(err, fmt.Errorf("ask the worker: %w", pidErr))
		}
	}
	if s.IdleUnknown.Note(err) {
		s.Log.Warn("idle-timeout is not enforced", logging.Error(err))
	}
	return idle, err
}

// errNotTCP says that the kernel does not count how long a connection is idle.
var errNotTCP = errors.New("not a TCP connection")

// reasonHangUp is the reason for the end of a worker whose client has gone.
const reasonHangUp = "hang-up"

// noteHangUps takes in whose clients have gone.
func (m *Master) noteHangUps(answer workers.HangUps) {
	found, err := m.workers.NoteHangUps(answer, time.Now())
	for _, w := range found {
		c := w.Connection()
		if !c.LogsFailures() {
			continue
		}
		w.Owner().Log.Info("client gone", logging.Conn(c.ID), c.Peer(), logging.PID(w.PID()), logging.Reason(string(c.Spec.HangUp)))
	}
	if err != nil {
		m.log.Warn("hang-ups unknown", logging.Error(err))
	}
}

// endOverdue signals a worker that should have come further by now.
func (m *Master) endOverdue(w *workers.Worker, sig unix.Signal, reason string) {
	if c := w.Connection(); c == nil || c.LogsFailures() {
		w.Owner().Log.Warn("worker overdue", logging.PID(w.PID()), logging.Signal(sig), logging.Reason(reason))
	}
	m.signalWorker(w, sig)
}

// checkLeftovers ends what workers have left behind. When the workers have had
// SIGKILL it gets no more time than they.
func (m *Master) checkLeftovers(now time.Time) {
	delay := m.services.cfg.KillDelay
	if m.phase.is() == killing {
		delay = 0
	}
	m.workers.CheckLeftovers(now, delay)
}

// startLimitTicker has limits checked from now on. It is called for every worker
// that the loop learns of.
func (m *Master) startLimitTicker() {
	if !m.loop.limitsOn {
		m.loop.limitsOn = true
		m.loop.limits.Reset(limitInterval)
		m.dispatcher.SetUrgent(m.workers.HasEarlyExits())
	}
}

// updateLimitTicker has limits checked as long as there is anything to check:
// workers, spares to be, refusals that were not logged, or services that are
// no longer in force.
func (m *Master) updateLimitTicker() {
	m.takeOutcomes()
	if m.needsLimitTicker() || m.workers.Len() > 0 || len(m.services.byName) > len(m.services.inForce) {
		m.startLimitTicker()
	} else {
		// Nothing else wakes the loop for a worker that was started, so that the
		// first one after this has to.
		m.loop.limits.Stop()
		m.loop.limitsOn = false
		m.resolveEarlyExits()
	}
}

func (m *Master) needsLimitTicker() bool {
	for _, s := range m.services.inForce {
		if spec := s.Spec(); spec.MaxSpares > 0 || spec.MayRefuse() {
			return true
		}
	}
	for _, s := range m.services.byName {
		if s.Refusals.Pending() {
			return true
		}
	}
	return false
}

// replaceListeners retires listeners, in the place of which others accept by now.
// The service manager forgets those first: new ones may have the same names there.
func (m *Master) replaceListeners(closed []*endpoints.Listener) {
	m.endpoints.Retire(closed)
	m.endpoints.Store(m.endpoints.All())
	m.endpoints.Shelve()
	m.updateSocketTicker()
}

// checkSockets closes listeners that were replaced when nobody waits there any
// more, and replaces those whose interface was made anew.
func (m *Master) checkSockets(now time.Time) {
	opened, closed := m.endpoints.Check(now)
	for _, l := range opened {
		m.acceptor.Start(l)
	}
	m.replaceListeners(closed)
}

// updateSocketTicker has sockets checked as long as there is something to check.
func (m *Master) updateSocketTicker() {
	if d := m.endpoints.CheckInterval(); d > 0 {
		m.loop.sockets.Reset(d)
	} else {
		m.loop.sockets.Stop()
	}
}

// notifyWatchdog tells the manager that the master makes progress. It is a step
// of the loop, so a loop that hangs is silent. It reaps first, so one that does
// not come to an end with that is silent, too.
func (m *Master) notifyWatchdog() {
	m.reap()
	m.notify.Alive()
	if m.phase.is() != running {
		m.notify.Extend(stopExtension)
	}
	m.notifyStatus()
}

// notifyStatus tells the manager how the master is, if that has changed.
func (m *Master) notifyStatus() {
	if !m.notify.HasManager() {
		return
	}
	all := m.services.totals()
	status := fmt.Sprintf("%v: %d connections live, %d spawned, %d refused", m.phase.is(), all.Live(), m.workers.Started(), all.Refused)
	if problem := m.reloads.Problem(); problem != "" {
		status += "; " + problem
	} else if why := m.reloads.Failure(); why != "" {
		status += "; not reloaded: " + why
	}
	m.notify.Status(status)
}

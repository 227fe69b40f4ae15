package master

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
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
			sig = w.IdleSignal(now, killDelay, process.Idle)
		}
		if sig != 0 {
			m.endOverdue(w, sig)
		}
	}
	for _, s := range m.services.inForce {
		if !s.Draining() {
			m.dispatcher.Pool(s.Spec()).Shrink(now)
		}
	}
	for _, s := range m.services.byName {
		logSuppressed(s, now)
	}
}

// logSuppressed says how many refusals of a service were not logged, for reasons
// that have ceased by then.
func logSuppressed(s *service.Service, now time.Time) {
	for reason, n := range s.Refusals.Rest(now) {
		s.Log.Info(logging.EventRefused, logging.Reason(reason.String()), logging.Suppressed(n))
	}
}

// endOverdue signals a worker that should have come further by now.
func (m *Master) endOverdue(w *workers.Worker, sig unix.Signal) {
	w.Owner().Log.Warn("worker overdue", logging.PID(w.PID()), logging.Signal(sig), logging.Reason(w.State().String()))
	m.signalWorker(w, sig)
}

// updateLimitTicker has limits checked as long as there are any. After a reload
// there may be workers of Specs that are no longer in force.
func (m *Master) updateLimitTicker() {
	m.takeOutcomes()
	if m.needsLimitTicker() || m.workers.Len() > 0 || len(m.services.byName) > len(m.services.inForce) {
		m.loop.limits.Reset(limitInterval)
	} else {
		m.loop.limits.Stop()
	}
}

func (m *Master) needsLimitTicker() bool {
	for _, s := range m.services.inForce {
		if spec := s.Spec(); spec.MaxSpares > 0 || spec.HasTimeLimits() || spec.MayRefuse() {
			return true
		}
	}
	return false
}

package master

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// How long a worker may stay in a state in which it is not supposed to linger.
const (
	readyWithin  = 10 * time.Second // a spare, from its start
	takenWithin  = 5 * time.Second  // a spare, from the assignment
	retireWithin = 5 * time.Second  // a spare that was told to go, or whose channel broke
)

// sweep ends workers that linger where they should not, and those that should
// have ended their connection, for its age or for its silence, and have not. It
// lets the pools shrink. The loop calls it every second where there are spares
// or limits.
func (m *Master) sweep(now time.Time) {
	m.takeSpawns() // nothing else may have made it known that there are some
	for pid, w := range m.table.workers {
		sig := w.overdue(now, m.cfg.KillDelay)
		if sig == 0 {
			sig = w.silent(pid, now, m.cfg.KillDelay)
		}
		if sig != 0 {
			w.service.log.Warn("worker overdue", logging.PID(pid), logging.Signal(sig), logging.Reason(w.stateNow().String()))
			m.signalGroup(pid, sig)
		}
	}
	for _, s := range m.services {
		s.pool.shrink(now)
	}
	m.logSuppressed(now)
}

// settleSweep has the loop sweep as long as there is anything to sweep. After a
// reload there may be workers of services that are no more.
func (m *Master) settleSweep() {
	m.takeSpawns()
	if m.needsSweep() || len(m.table.workers) > 0 {
		m.sweeping.Reset(time.Second)
	} else {
		m.sweeping.Stop()
	}
}

// needsSweep reports whether there is anything for sweep to look at.
func (m *Master) needsSweep() bool {
	limits := func(r *rule) bool { return r.MaxLifetime != nil || r.IdleTimeout != nil }
	for _, s := range m.services {
		if s.MaxSpares > 0 || s.MaxLifetime > 0 || s.IdleTimeout > 0 || s.refuses() || slices.ContainsFunc(s.rules, limits) {
			return true
		}
	}
	return false
}

// overdue returns the signal that a worker has earned by lingering, or 0. A
// connection whose lifetime is over has killDelay to obey SIGTERM, and one whose
// worker knows its lifetime as much before that to end by itself.
func (w *worker) overdue(now time.Time, killDelay time.Duration) unix.Signal {
	p := w.service.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	age := now.Sub(w.since)
	switch {
	case w.state == starting && age > readyWithin,
		w.state == assigned && age > takenWithin,
		(w.state == retiring || w.state == broken) && age > retireWithin:
		return unix.SIGKILL
	}
	if w.state != serving || w.conn == nil || w.conn.lifetime == 0 {
		return 0
	}
	lifetime := w.conn.lifetime
	if !w.service.becomesProgram() {
		lifetime += killDelay
	}
	if age > lifetime {
		return w.end(now, killDelay)
	}
	return 0
}

// end returns SIGTERM for a worker that should have ended its connection, and
// SIGKILL when it has not obeyed that for killDelay.
func (w *worker) end(now time.Time, killDelay time.Duration) unix.Signal {
	switch {
	case w.warned.IsZero():
		w.warned = now
		return unix.SIGTERM
	case now.Sub(w.warned) > killDelay:
		return unix.SIGKILL
	}
	return 0
}

// idleLimit returns how long the connection that a worker serves may be silent,
// or 0.
func (w *worker) idleLimit() time.Duration {
	p := w.service.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.state != serving || w.conn == nil {
		return 0
	}
	return w.conn.idle
}

// silent returns the signal that a worker has earned by keeping a connection
// that is idle, or 0. The worker's own measure may take twice the limit; after
// that it has killDelay to end the connection and another one to obey SIGTERM.
// The kernel is asked only as often as the answer can matter.
func (w *worker) silent(pid int, now time.Time, killDelay time.Duration) unix.Signal {
	limit := w.idleLimit()
	if limit == 0 || now.Before(w.nextLook) {
		return 0
	}
	allowed := 2*limit + killDelay
	idle, err := process.Idle(pid)
	switch {
	case err != nil:
		// A unix socket, or a worker that is just ending.
		w.nextLook = now.Add(allowed)
	case idle > allowed:
		return w.end(now, killDelay)
	default:
		w.nextLook = now.Add(allowed - idle)
	}
	return 0
}

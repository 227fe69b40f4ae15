package workers

import (
	"time"

	"golang.org/x/sys/unix"
)

// How long a worker may stay in a state that is meant to pass.
const (
	ReadyTimeout  = 10 * time.Second // a spare, from its start until it is ready
	ackTimeout    = 5 * time.Second  // a spare, from the assignment to the acknowledgement
	retireTimeout = 5 * time.Second  // a spare that was told to go, or whose channel broke
	exitTimeout   = time.Second / 4  // a spare that closed its channel with a connection on its way to it
)

// TimeoutSignal returns the signal for a worker that stays too long where it is,
// or 0. A connection whose lifetime is over has killDelay to obey SIGTERM. A
// worker that knows its lifetime has as much before that to end by itself.
func (w *Worker) TimeoutSignal(now time.Time, killDelay time.Duration) unix.Signal {
	w.mu.Lock()
	state, age, c, hungUpAt := w.state, now.Sub(w.since), w.conn, w.hungUpAt
	w.mu.Unlock()
	switch {
	case state == Starting && age > ReadyTimeout,
		state == Assigned && age > ackTimeout,
		state == Assigned && !hungUpAt.IsZero() && now.Sub(hungUpAt) > exitTimeout,
		(state == Retiring || state == Broken) && age > retireTimeout:
		return unix.SIGKILL
	}
	if state != Serving || c == nil || c.Lifetime == 0 {
		return 0
	}
	lifetime := c.Lifetime
	if !w.Spec().ExecsProgram() {
		lifetime += killDelay
	}
	if age > lifetime {
		w.limit = LimitRuntime
		return w.nextStopSignal(now, killDelay)
	}
	return 0
}

// CPUSignal returns the signal for a worker whose connection has used more CPU time
// than it may, or 0.
func (w *Worker) CPUSignal(now time.Time, killDelay time.Duration) unix.Signal {
	limit := w.Spec().Box.CPUTimeMax
	if state, c := w.Standing(); limit == 0 || state != Serving || c == nil || w.CPUTime()-w.cpuBefore <= limit {
		return 0
	}
	w.limit = LimitCPU
	return w.nextStopSignal(now, killDelay)
}

// nextStopSignal returns SIGTERM for a worker that should have ended its
// connection, and SIGKILL when it has not obeyed that for killDelay.
func (w *Worker) nextStopSignal(now time.Time, killDelay time.Duration) unix.Signal {
	switch {
	case w.termSentAt.IsZero():
		w.termSentAt = now
		return unix.SIGTERM
	case now.Sub(w.termSentAt) > killDelay:
		return unix.SIGKILL
	}
	return 0
}

// IdleSignal returns the signal for a worker that keeps a connection which has
// been idle for too long, or 0. The worker may measure up to twice the limit;
// after that it has killDelay to end the connection, and another one to obey
// SIGTERM.
//
// idleTime asks the kernel how long the connection of a process has been idle,
// as process.Idle does. It is called only as often as the answer can matter.
func (w *Worker) IdleSignal(now time.Time, killDelay time.Duration, idleTime func(pid int) (time.Duration, error)) unix.Signal {
	state, c := w.Standing()
	if state != Serving || c == nil || c.IdleTimeout == 0 || now.Before(w.nextIdleCheck) {
		return 0
	}
	allowed := 2*c.IdleTimeout + killDelay
	idle, err := idleTime(w.PID())
	switch {
	case err != nil:
		// A unix socket, or a worker that is just ending.
		w.nextIdleCheck = now.Add(allowed)
	case idle > allowed:
		return w.nextStopSignal(now, killDelay)
	default:
		w.nextIdleCheck = now.Add(allowed - idle)
	}
	return 0
}

package workers

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whoever stays too long in a state that is meant to pass is killed; the others
// are left alone.
func TestTimeoutSignal(t *testing.T) {
	now := time.Now()
	const killDelay = 5 * time.Second
	for _, c := range []struct {
		name string
		keys string
		age  time.Duration
		set  func(st *stage, w *Worker)
		want unix.Signal
	}{
		{"starting", "", ReadyTimeout, nil, 0},
		{"starting for too long", "", ReadyTimeout + 1, nil, unix.SIGKILL},
		{"idle for a day", "", 24 * time.Hour, func(_ *stage, w *Worker) { w.state = Idle }, 0},
		{"assigned for too long", "", ackTimeout + 1, func(_ *stage, w *Worker) { w.state = Assigned }, unix.SIGKILL},
		{"retiring", "", retireTimeout, func(_ *stage, w *Worker) { w.state = Retiring }, 0},
		{"retiring for too long", "", retireTimeout + 1, func(_ *stage, w *Worker) { w.state = Retiring }, unix.SIGKILL},
		{"broken for too long", "", retireTimeout + 1, func(_ *stage, w *Worker) { w.state = Broken }, unix.SIGKILL},
		{"serving for a day", "", 24 * time.Hour, func(st *stage, w *Worker) { w.state, w.conn = Serving, st.connection() }, 0},
		{"within its lifetime and the worker's delay", "max-lifetime = '1m'\n", time.Minute + killDelay, func(st *stage, w *Worker) { w.state, w.conn = Serving, st.connection() }, 0},
		{"beyond its lifetime", "max-lifetime = '1m'\n", time.Minute + killDelay + 1, func(st *stage, w *Worker) { w.state, w.conn = Serving, st.connection() }, unix.SIGTERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newStage(t, sdkProgram+"spares = 1\n"+c.keys)
			w := st.starting(now)
			w.since = now.Add(-c.age)
			if c.set != nil {
				c.set(st, w)
			}
			if got := w.TimeoutSignal(now, killDelay); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if c.want != unix.SIGTERM {
				return
			}
			if got := w.TimeoutSignal(now.Add(killDelay), killDelay); got != 0 {
				t.Errorf("within the delay: %v", got)
			}
			if got := w.TimeoutSignal(now.Add(killDelay+1), killDelay); got != unix.SIGKILL {
				t.Errorf("after the delay: %v", got)
			}
			if !w.EndedByMaster() || !w.Ending() {
				t.Error("its end is not the master's doing")
			}
		})
	}
}

// The kernel is asked only when its answer can matter.
func TestIdleSignal(t *testing.T) {
	st := newStage(t, sdkProgram+"idle-timeout = '10s'\n")
	w := st.serving()
	now := time.Now()
	const killDelay = 5 * time.Second // so 25 s are allowed
	asked, idle, failure := 0, 20*time.Second, error(nil)
	check := func(at time.Duration, want unix.Signal, wantAsked int) {
		t.Helper()
		got := w.IdleSignal(now.Add(at), killDelay, func(pid int) (time.Duration, error) {
			asked++
			if pid != w.PID() {
				t.Errorf("asked about %d", pid)
			}
			return idle, failure
		})
		if got != want || asked != wantAsked {
			t.Errorf("after %v: %v, asked %d times; want %v, %d times", at, got, asked, want, wantAsked)
		}
	}
	check(0, 0, 1)
	check(4*time.Second, 0, 1) // 25 s are not over before 5 s from the first answer
	failure = errors.New("no such socket")
	check(5*time.Second, 0, 2)
	failure, idle = nil, 26*time.Second
	check(29*time.Second, 0, 2)
	check(30*time.Second, unix.SIGTERM, 3)
	check(36*time.Second, unix.SIGKILL, 4)
	unlimited := newStage(t, sdkProgram).serving()
	if got := unlimited.IdleSignal(now.Add(24*time.Hour), killDelay, nil); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
}

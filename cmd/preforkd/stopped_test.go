package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A worker that a signal has stopped does nothing, and its client waits. The log
// says so once, the status shows it as stopped and as a problem, until it goes on.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	for _, handoff := range []string{"stdio", "systemd"} {
		for _, spares := range []int{0, 1} {
			t.Run(fmt.Sprint(handoff, ", spares ", spares), func(t *testing.T) {
				t.Parallel()
				m := configured(t, 1, single("overflow = \"wait\"", fmt.Sprintf("handoff = %q", handoff), fmt.Sprint("spares = ", spares),
					`program = ["/bin/sh", "-c", "if [ \"$LISTEN_FDS\" ]; then exec <&3 >&3; fi; read go && kill -STOP $$; echo good"]`))
				if spares > 0 {
					m.Spares = spares
					m.WaitSpares(t, spares)
					m.Baseline(t)
				}
				other, c := m.Dial(t), m.Dial(t)
				other.Accepted(t)
				pid, conn := c.Worker(t), c.Accepted(t).Conn
				c.Send(t, "go\n")
				e := m.WaitFor(t, systest.Is("worker stopped"))
				if e.PID != pid || e.Conn != conn || e.Signal != "SIGSTOP" || e.Level != "warn" {
					t.Errorf("%s", e.Line)
				}
				for _, shown := range looked(t, m).Connections {
					if want := map[bool]string{true: "stopped", false: "serving"}[shown.ID == conn]; shown.State != want {
						t.Errorf("%+v is not %s", shown, want)
					}
				}
				r := ran(t, m, "status", "--check")
				if want := fmt.Sprintf("degraded: service one: 1 workers are stopped and do nothing (pid %d by SIGSTOP)", pid); r.Code != 1 || !strings.HasPrefix(r.Stdout, want) {
					t.Errorf("%+v", r)
				}
				if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				if got := c.ExpectEnd(t); got != "good\n" {
					t.Errorf("the client got %q", got)
				}
				c.End(t)
				told(t, m, "status", "--check")
				if n := len(m.Events(systest.Is("worker stopped"))); n != 1 {
					t.Errorf("logged %d times", n)
				}
			})
		}
	}
}

// What was stopped and goes on is no problem any more, though its connection lives,
// and the limits of a connection hold for a worker that is stopped.
func TestStoppedWorkerContinues(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(`overflow = "wait"`, catting))
	c := m.Dial(t)
	c.Echo(t, "hello")
	pid := c.Worker(t)
	for n := range 2 {
		systest.Halt(t, pid)
		m.Wait(t, n+1, systest.Is("worker stopped"))
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if e := m.Wait(t, n+1, systest.Is("worker continued"))[n]; e.PID != pid || e.Conn != c.Accepted(t).Conn {
			t.Errorf("%s", e.Line)
		}
		c.Echo(t, "still here")
		told(t, m, "status", "--check")
	}
	m = configured(t, 1, single(`overflow = "wait"`, `max-lifetime = "3s"`, catting))
	c = m.Dial(t)
	systest.Halt(t, c.Worker(t))
	m.WaitFor(t, systest.Is("worker stopped"))
	if end := c.End(t); end.Signal != "SIGTERM" {
		t.Errorf("%s", end.Line)
	}
	told(t, m, "status", "--check")
}

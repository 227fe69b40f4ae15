package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// reuse are the workers that can serve one connection after the other.
func reuse(t *testing.T) map[string][]string {
	return map[string][]string{
		"builtin": {"echo"},
		"sdk":     {"--handoff", "worker", "--", systest.Program(t, "cmd/internal/systest/testworker"), "echo"},
	}
}

// A worker serves as many connections as it may, one at a time, and then makes
// way for another. Each connection has its own end in the log, with its own
// counts; the last one's has the worker's as well.
func TestConnectionsPerWorker(t *testing.T) {
	t.Parallel()
	for name, args := range reuse(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--max-connections 1 --min-spares 0 --max-spares 2 --connections-per-worker 3", args...)...)
			count := map[int]int{}
			for n := range 12 {
				words := fmt.Sprintf("hello, I am number %d", n)
				c := m.Dial(t)
				c.Echo(t, words)
				pid := c.Worker(t)
				count[pid]++
				c.CloseWrite(t)
				c.ExpectEnd(t)
				end := c.End(t)
				if end.PID != pid || end.Reason != "eof" || end.BytesIn == nil || *end.BytesIn != int64(len(words)) || end.Duration == nil {
					t.Errorf("connection %d: unexpected end: %s", n, end.Line)
				}
				if last := end.Msg == systest.Reaped; last && (end.Code() != 0 || end.MaxRSS == nil) || !last && (end.ExitCode != nil || end.MaxRSS != nil) {
					t.Errorf("connection %d: unexpected end: %s", n, end.Line)
				}
				c.Close()
			}
			for pid, n := range count {
				if n > 3 {
					t.Errorf("%d served %d connections, at most 3 are allowed", pid, n)
				}
			}
			if len(count) >= 12 {
				t.Error("no worker served more than one connection")
			}
		})
	}
}

// A single worker that nothing competes with serves exactly its number, and the
// events of its connections are "ended" but for the last.
func TestConnectionsOfOneWorker(t *testing.T) {
	t.Parallel()
	for name, args := range reuse(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Without a spare at the start the pool has room for the first
			// worker when it comes back.
			m := systest.Start(t, with("--min-spares 0 --max-spares 2 --connections-per-worker 4", args...)...)
			c := m.Dial(t)
			c.Echo(t, "hello")
			waiting := m.WaitSpares(t, 1)
			pid := c.Worker(t)
			c.Close()
			if end := c.End(t); end.Msg != systest.Ended || end.PID != pid {
				t.Errorf("unexpected end: %s", end.Line)
			}
			m.WaitSpares(t, 2)
			// The one that came last goes first.
			for n := 2; n <= 4; n++ {
				c := m.Dial(t)
				c.Echo(t, "hello")
				if got := c.Worker(t); got != pid {
					t.Errorf("connection %d is served by %d, want %d; the other spare is %v", n, got, pid, waiting)
				}
				c.CloseWrite(t)
				c.ExpectEnd(t)
				want := systest.Ended
				if n == 4 {
					want = systest.Reaped
				}
				if end := c.End(t); end.Msg != want || end.PID != pid {
					t.Errorf("connection %d: want %s: %s", n, want, end.Line)
				}
			}
			if systest.Alive(pid) {
				t.Error("a worker lives on after its last connection")
			}
		})
	}
}

// A crash in the middle of a worker's life ends the connection that it has, and
// not those before and after it.
func TestCrashOfAReusedWorker(t *testing.T) {
	t.Parallel()
	for name, args := range reuse(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--min-spares 0 --max-spares 2 --connections-per-worker 10", args...)...)
			first := m.Dial(t)
			first.Echo(t, "hello")
			bystander := m.Dial(t)
			bystander.Echo(t, "hello")
			first.Close()
			first.End(t)
			second := m.Dial(t)
			second.Echo(t, "hello")
			pid := second.Worker(t)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			second.ExpectGone(t)
			if end := second.End(t); end.Msg != systest.Reaped || end.Signal != "SIGKILL" || end.PID != pid {
				t.Errorf("unexpected end: %s", end.Line)
			}
			if bystander.Worker(t) != pid {
				bystander.Echo(t, "still here")
			}
			third := m.Dial(t)
			third.Echo(t, "hello")
			third.Close()
			if end := third.End(t); end.Signal != "" {
				t.Errorf("unexpected end: %s", end.Line)
			}
		})
	}
}

// A worker whose handler panicked is given no other connection.
func TestPanicEndsAReusedWorker(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--spares 1 --connections-per-worker 10 --handoff worker", "--", systest.Program(t, "cmd/internal/systest/testworker"), "lines")...)
	m.WaitSpares(t, 1)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	pid := c.Worker(t)
	c.Send(t, "panic on purpose\n")
	c.ExpectGone(t)
	c.Close() // the worker lingers for its sake
	if end := c.End(t); end.Msg != systest.Reaped || end.PID != pid || end.Reason != "panic" || end.Code() != 107 {
		t.Errorf("unexpected end: %s", end.Line)
	}
	// An error does not do that.
	m.WaitSpares(t, 1)
	other := m.Dial(t)
	other.Send(t, "fail on purpose\n")
	other.ExpectGone(t)
	other.Close()
	if end := other.End(t); end.Reason != "error" {
		t.Errorf("unexpected end: %s", end.Line)
	}
	m.WaitFor(t, func(e systest.Event) bool { return e.Msg == "" && strings.Contains(e.Line, "on purpose") })
}

// The values of one connection do not stand in the event of the next.
func TestReusedWorkerForgets(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--min-spares 0 --max-spares 2 --connections-per-worker 3 --handoff worker", "--", systest.Program(t, "cmd/internal/systest/testworker"), "lines")...)
	for n, value := range []string{"one", "", "three"} {
		c := m.Dial(t)
		want := 0
		if value != "" {
			want = 1
			c.Send(t, "report user "+value+"\n")
			c.Expect(t, "ok\n")
		}
		c.Echo(t, "hello\n")
		c.Close()
		if end := c.End(t); len(end.Report) != want || end.Report["user"] != value {
			t.Errorf("connection %d: %s", n, end.Line)
		}
	}
}

// A drain ends workers that wait for another connection at once, and those that
// serve after the one they have.
func TestDrainOfReusedWorkers(t *testing.T) {
	t.Parallel()
	for name, args := range reuse(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares 2 --connections-per-worker 10 --drain-timeout 1h --kill-delay 1h", args...)...)
			m.WaitSpares(t, 2)
			c := m.Dial(t)
			c.Echo(t, "hello")
			waiting := m.WaitSpares(t, 2)
			drain(t, m, syscall.SIGTERM)
			for _, pid := range waiting {
				if end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.PID == pid }); end.Code() != 0 {
					t.Errorf("unexpected end: %s", end.Line)
				}
			}
			c.Echo(t, "still here")
			c.Close()
			if end := c.End(t); end.Msg != systest.Reaped || end.Code() != 0 {
				t.Errorf("unexpected end: %s", end.Line)
			}
			stopped(t, m)
		})
	}
}

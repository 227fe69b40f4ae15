package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// drain sends a signal and waits until the master drains.
func drain(t *testing.T, m *systest.Master, sig syscall.Signal) {
	t.Helper()
	m.Signal(t, sig)
	m.WaitFor(t, systest.Is(systest.Draining))
}

// stopped waits for the end of the master, which must be a clean one and the
// last word of its log.
func stopped(t *testing.T, m *systest.Master) {
	t.Helper()
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	m.WaitLogEnd(t)
	events := m.Events(func(e systest.Event) bool { return e.Msg != "" })
	if last := events[len(events)-1]; last.Msg != systest.Stopped {
		t.Errorf("the last event is %s", last.Line)
	}
	if n := len(m.Events(systest.Is(systest.Stopped))); n != 1 {
		t.Errorf("stopped %d times", n)
	}
}

// A drain takes no new clients and lets the old ones finish, however slow.
func TestDrainWaitsForSlowClient(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, "--drain-timeout", "1h", "echo")
			slow := m.Dial(t)
			want := noise(4 << 20)
			slow.Echo(t, string(want[:1000]))
			go slow.Write(want) // more than fits anywhere: it waits for its reader
			got := make([]byte, len(want))
			if _, err := io.ReadFull(slow, got[:len(got)/4]); err != nil {
				t.Fatal(err)
			}
			drain(t, m, sig)
			systest.Until(t, "refusing new clients", func() bool {
				c, err := net.Dial("tcp", m.Listeners[0].Address)
				if err == nil {
					c.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			}, nil)
			if _, err := io.ReadFull(slow, got[len(got)/4:]); err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Error("other bytes came back")
			}
			slow.Echo(t, "and more")
			slow.CloseWrite(t)
			slow.ExpectEnd(t)
			if end := slow.End(t); end.Reason != "eof" || end.Code() != 0 {
				t.Errorf("unexpected end: %s", end.Line)
			}
			stopped(t, m)
		})
	}
}

// Without connections a drain is over at once.
func TestDrainOfNothing(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "--drain-timeout", "1h", "echo")
	drain(t, m, syscall.SIGTERM)
	stopped(t, m)
}

// After the drain's time workers are told to end, after the delay they are
// made to.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		delay        string
		signal       string
		code         int
		words        string
	}{
		{"ends", `echo ready; exec sleep 1000`, "1h", "SIGTERM", 0, ""},
		{"says good-bye", `trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done`, "1h", "", 3, "bye\n"},
		{"ignores it", `trap '' TERM; echo ready; exec sleep 1000`, "50ms", "SIGKILL", 0, ""},
		{"stands still", `echo ready; kill -STOP $$; exec sleep 1000`, "1h", "SIGTERM", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, append([]string{"--drain-timeout", "50ms", "--kill-delay", c.delay}, program(sh(c.script)...)...)...)
			client := m.Dial(t)
			client.Expect(t, "ready\n")
			drain(t, m, syscall.SIGTERM)
			if got := client.ExpectEnd(t); got != c.words {
				t.Errorf("the last words were %q, want %q", got, c.words)
			}
			if end := client.End(t); end.Signal != c.signal || c.signal == "" && end.Code() != c.code {
				t.Errorf("want signal %q or code %d: %s", c.signal, c.code, end.Line)
			}
			stopped(t, m)
		})
	}
}

// The children of workers are stopped with them, whatever their parents do.
func TestGrandchildrenAreStopped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		parentGone   bool // the worker has been reaped before the stop
	}{
		{"of a living worker", `sleep 1000 & echo ready; exec sleep 1000`, false},
		{"that ignore TERM", `(trap '' TERM; exec sleep 1000) & echo ready; exec sleep 1000`, false},
		{"all ignore TERM", `trap '' TERM; sleep 1000 & echo ready; exec sleep 1000`, false},
		{"in a group of their own", `set -m; sh -c 'sh -c "sleep 1000; :"; :' & echo ready; wait`, false},
		{"of a worker that has gone", `sleep 1000 <&2 >&2 & echo ready`, true},
		{"of a worker that has gone, that ignore TERM", `(trap '' TERM; exec sleep 1000 <&2 >&2) & echo ready`, true},
		{"of children of a worker that has gone", `sh -c 'sh -c "sh -c \"sleep 1000; :\"; :"; :' <&2 >&2 & echo ready`, true},
		{"with the connection of a worker that has gone", `sleep 1000 & echo ready`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, append([]string{"--drain-timeout", "50ms", "--kill-delay", "50ms", "--leftovers", "keep"}, program(sh(c.script)...)...)...)
			client := m.Dial(t)
			client.Expect(t, "ready\n")
			group := client.Accepted(t)
			pid := m.Worker(t, group)
			if c.parentGone {
				client.End(t)
			}
			drain(t, m, syscall.SIGTERM)
			stopped(t, m) // and with it the end of the log: nobody holds the master's stderr
			if left := systest.Group(pid); len(left) > 0 {
				t.Errorf("left behind: %+v", left)
			}
		})
	}
}

// A second SIGINT does not wait for anybody; SIGQUIT never does.
func TestImpatience(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string][]syscall.Signal{
		"INT INT":  {syscall.SIGINT, syscall.SIGINT},
		"TERM INT": {syscall.SIGTERM, syscall.SIGINT},
		"QUIT":     {syscall.SIGQUIT},
		"INT QUIT": {syscall.SIGINT, syscall.SIGQUIT},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, append([]string{"--drain-timeout", "1h", "--kill-delay", "1h"}, program("/bin/cat")...)...)
			c := m.Dial(t)
			c.Echo(t, "hello")
			drain(t, m, signals[0])
			if len(signals) > 1 {
				c.Echo(t, "still here")
				m.Signal(t, signals[1])
			}
			c.ExpectGone(t)
			if end := c.End(t); end.Signal != "SIGTERM" {
				t.Errorf("want SIGTERM: %s", end.Line)
			}
			stopped(t, m)
		})
	}
}

// SIGQUIT skips the drain but not the delay that a worker has for its end.
func TestQuitKillsWhoIgnoresIt(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--drain-timeout", "1h", "--kill-delay", "50ms"},
		program(sh(`trap '' TERM; echo ready; exec sleep 1000`)...)...)...)
	c := m.Dial(t)
	c.Expect(t, "ready\n")
	m.Signal(t, syscall.SIGQUIT)
	if end := c.End(t); end.Signal != "SIGKILL" {
		t.Errorf("want SIGKILL: %s", end.Line)
	}
	stopped(t, m)
}

// A stop in the middle of a storm of clients leaves nobody behind, not even
// those whose worker was on its way.
func TestStopDuringStorm(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"worker": {"echo"}, "stdio": program("/bin/cat")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, args...)
			var storm sync.WaitGroup
			for range 8 {
				storm.Go(func() {
					for {
						c, err := m.TryDial()
						if err != nil {
							return // it listens no more
						}
						defer c.Close()
					}
				})
			}
			m.Wait(t, 30, systest.Is(systest.Accepted))
			m.Signal(t, syscall.SIGQUIT)
			stopped(t, m)
			storm.Wait()
			for _, e := range m.Events(systest.Is(systest.Accepted)) {
				if left := systest.Group(e.PID); len(left) > 0 {
					t.Errorf("left behind: %+v", left)
				}
			}
		})
	}
}

// A client that waits in the backlog at the cap is not left hanging by a drain.
func TestDrainEndsTheBacklog(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--max-connections", "1"}, program("/bin/cat")...)...)
	holder := m.Dial(t)
	holder.Echo(t, "hello")
	waiting := m.Dial(t)
	drain(t, m, syscall.SIGTERM)
	waiting.ExpectGone(t)
	holder.Echo(t, "still here")
	holder.Close()
	stopped(t, m)
}

// A worker that tries to leave its group stays in the master's reach: the leader
// of a session can do neither of both.
func TestWorkerCannotLeaveItsGroup(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{"TERM": "", "KILL": "trap '' TERM; "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, append([]string{"--drain-timeout", "50ms", "--kill-delay", "50ms"},
				program(systest.Helper("groupless", sh(script+"echo ready; exec sleep 1000")...)...)...)...)
			c := m.Dial(t)
			c.Expect(t, "ready\n")
			drain(t, m, syscall.SIGTERM)
			if end := c.End(t); end.Signal != "SIG"+name {
				t.Errorf("want SIG%s: %s", name, end.Line)
			}
			stopped(t, m)
		})
	}
}

// Without a delay SIGKILL comes at once, and still has the time that it takes.
func TestNoKillDelay(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--drain-timeout", "0s", "--kill-delay", "0s"},
		program(sh(`trap '' TERM; sleep 1000 <&2 >&2 & echo ready; exec sleep 1000`)...)...)...)
	for range 10 {
		m.Dial(t).Expect(t, "ready\n")
	}
	drain(t, m, syscall.SIGTERM)
	stopped(t, m)
}

// What a worker has left behind has kill-delay to end, also when the drain has no
// time at all.
func TestOrphanCleansUp(t *testing.T) {
	t.Parallel()
	file := filepath.Join(systest.Dir(t), "clean")
	m := systest.Start(t, append([]string{"--drain-timeout", "0s", "--kill-delay", "1h", "--leftovers", "keep"},
		program(sh(`(trap 'sleep 0.3; echo clean > `+file+`; exit' TERM; echo ready; exec <&2 >&2; while :; do sleep 0.01; done) &`)...)...)...)
	client := m.Dial(t)
	client.Expect(t, "ready\n")
	client.End(t)
	drain(t, m, syscall.SIGTERM)
	stopped(t, m)
	if got, _ := os.ReadFile(file); string(got) != "clean\n" {
		t.Errorf("it was not given the time to clean up: %q", got)
	}
}

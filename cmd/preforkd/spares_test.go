package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// spareKinds are the kinds of workers that can wait for a connection.
func spareKinds(t *testing.T) map[string][]string {
	return map[string][]string{
		"builtin": {"echo"},
		"sdk":     {"--handoff", "worker", "--", systest.Program(t, "cmd/internal/systest/testworker"), "echo"},
		"stdio":   program("/bin/cat"),
		"systemd": {"--handoff", "systemd", "--", "/bin/sh", "-c", "exec cat <&3 >&3"},
	}
}

// with puts flags before the arguments that say what serves.
func with(flags string, args ...string) []string { return append(strings.Fields(flags), args...) }

// Spares are there before their connections, serve one each, and are replaced.
func TestSparesServe(t *testing.T) {
	t.Parallel()
	for name, args := range spareKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares 3", args...)...)
			served := map[int]bool{}
			for n := range 6 {
				waiting := m.WaitSpares(t, 3)
				c := m.Dial(t)
				c.Echo(t, "hello")
				pid := c.Worker(t)
				if !slices.Contains(waiting, pid) {
					t.Errorf("connection %d is served by %d, the spares were %v", n, pid, waiting)
				}
				if served[pid] {
					t.Errorf("%d serves a second connection", pid)
				}
				served[pid] = true
				if n%2 == 0 {
					c.CloseWrite(t)
					if rest := c.ExpectEnd(t); rest != "" {
						t.Errorf("at the end: %q", rest)
					}
					if end := c.End(t); end.Msg != systest.Reaped || end.PID != pid || end.Code() != 0 {
						t.Errorf("want %d reaped with 0: %s", pid, end.Line)
					}
				}
			}
			m.WaitSpares(t, 3)
		})
	}
}

// The connections that a spare takes are the very ones that clients made: many
// clients at a time, each hears itself.
func TestSparesDoNotMixUpConnections(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "--spares", "4", "echo")
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 25 {
				c, err := m.TryDial()
				if err != nil {
					t.Error(err)
					return
				}
				for range 2 {
					if err := c.TryEcho(fmt.Sprintf("client %d, connection %d\n", i, n)); err != nil {
						t.Errorf("client %d, connection %d: %v", i, n, err)
					}
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	m.Wait(t, 200, systest.Is(systest.Reaped))
	onlyOneEach(t, m)
}

// onlyOneEach holds that no process served two connections, and that the log
// has the accept of a connection before its end.
func onlyOneEach(t *testing.T, m *systest.Master) {
	t.Helper()
	by, accepted := map[int]string{}, map[string]bool{}
	for _, e := range m.Events(func(e systest.Event) bool { return e.Conn != "" }) {
		switch e.Msg {
		case systest.Accepted:
			accepted[e.Conn] = true
		case systest.Reaped:
			if !accepted[e.Conn] {
				t.Errorf("ended before it was accepted: %s", e.Line)
			}
			if other, ok := by[e.PID]; ok && other != e.Conn {
				t.Errorf("served connection %s before: %s", other, e.Line)
			}
			by[e.PID] = e.Conn
		}
	}
}

// A spare has the descriptors of the contract and nothing of anybody else's:
// no listener, no connection, no other spare's channel.
func TestDescriptorsOfIdleSpare(t *testing.T) {
	t.Parallel()
	for name, args := range spareKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{
				Wrap: sh(`exec 3</dev/zero 7<&3; exec "$@"`, "sh"),
				Args: with("--spares 3 --listen 127.0.0.1:0 --listen [::1]:0", args...),
			}.Start(t)
			for _, c := range m.DialAll(t, 3) {
				c.Echo(t, "hello")
			}
			channels := map[string]bool{}
			for _, pid := range m.WaitSpares(t, 3) {
				if conn := systest.Getenv(pid, "PREFORKD_CONNECTION"); conn != "" {
					t.Errorf("%d knows of connection %s", pid, conn)
				}
				stderr := sharedStderr(t, m, pid)
				for _, fd := range systest.FDs(pid) {
					want := map[int]string{0: "/dev/null", 1: stderr, 2: stderr, 3: "/dev/null"}
					switch {
					case fd.Number == 4:
						if !strings.HasPrefix(fd.Target, "socket:") || channels[fd.Target] {
							t.Errorf("%d: the control channel is %v", pid, fd)
						}
						channels[fd.Target] = true
					case want[fd.Number] != "":
						if fd.Target != want[fd.Number] {
							t.Errorf("%d: %v, want %s", pid, fd, want[fd.Number])
						}
					case strings.HasPrefix(fd.Target, "anon_inode:"), strings.HasPrefix(fd.Target, "/sys/fs/cgroup/"): // of Go's runtime
					default:
						t.Errorf("%d: one too many: %v", pid, fd)
					}
				}
			}
			if len(channels) != 3 {
				t.Errorf("3 spares have %d channels", len(channels))
			}
		})
	}
}

// The master keeps no copy of a connection that a spare has taken: its client
// sees the end when the worker's copy closes.
func TestMasterKeepsNoCopyOfASparesConnection(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"worker": {"--quit-word", "exit", "echo"},
		"stdio":  append([]string{"--lingering-close=false"}, program(sh("read word; echo $word")...)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares 2", args...)...)
			for range 10 {
				m.WaitSpares(t, 2)
				c := m.Dial(t)
				noConnections(t, m)
				c.Send(t, "exit\n")
				c.ExpectEnd(t)
			}
		})
	}
}

// Whatever comes, there are never more processes than slots and spares. The
// master is stopped for a look, so that what is seen was there at one time.
func TestNeverMoreThanSlotsAndSpares(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"fixed":    with("--max-connections 4 --spares 3", "echo"),
		"adapting": with("--max-connections 4 --min-spares 0 --max-spares 3", "echo"),
		"reuse":    with("--max-connections 4 --spares 3 --connections-per-worker 3", "echo"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, args...)
			stop := make(chan struct{})
			var storm sync.WaitGroup
			for i := range 12 {
				storm.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						c, err := m.TryDial()
						if err != nil {
							t.Error(err)
							return
						}
						if err := c.TryEcho(fmt.Sprintf("client %d\n", i)); err != nil {
							t.Errorf("client %d: %v", i, err)
						}
						c.Close()
					}
				})
			}
			for n := 1; n <= 40; n++ {
				m.Wait(t, 5*n, systest.Is(systest.Accepted))
				m.Signal(t, syscall.SIGSTOP)
				systest.Until(t, "a master that stands still", func() bool {
					p, _ := systest.Stat(m.PID)
					return p.State == 'T'
				}, nil)
				if children := systest.Children(m.PID); len(children) > 4+3 {
					t.Errorf("%d processes, at most 4 slots and 3 spares are allowed: %+v", len(children), children)
				}
				m.Signal(t, syscall.SIGCONT)
			}
			close(stop)
			storm.Wait()
		})
	}
}

// All slots taken by spares, the next client waits, and is served by one of the
// spares that are left.
func TestSparesAreNoSlots(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--max-connections 2 --spares 2", "echo")...)
	m.WaitSpares(t, 2)
	holders := m.DialAll(t, 2)
	for _, c := range holders {
		c.Echo(t, "hello")
	}
	waiting := m.WaitSpares(t, 2)
	third := m.Dial(t)
	third.Send(t, "hello")
	asked(t, m)
	if n := len(m.Events(systest.Is(systest.Accepted))); n != 2 {
		t.Errorf("%d accepted with two slots", n)
	}
	holders[0].Close()
	third.Expect(t, "hello")
	if pid := third.Worker(t); !slices.Contains(waiting, pid) {
		t.Errorf("served by %d, the spares were %v", pid, waiting)
	}
}

// A drain and every other stop ends idle spares at once, whatever the timeouts,
// and lets a live connection finish.
func TestDrainRetiresSpares(t *testing.T) {
	t.Parallel()
	for name, args := range spareKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares 3 --drain-timeout 1h --kill-delay 1h", args...)...)
			m.WaitSpares(t, 3)
			c := m.Dial(t)
			c.Echo(t, "hello")
			waiting := m.WaitSpares(t, 3)
			drain(t, m, syscall.SIGTERM)
			for _, pid := range waiting {
				end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.PID == pid })
				if end.Signal != "" || end.Code() != 0 || end.Conn != "" {
					t.Errorf("a spare should have ended in peace: %s", end.Line)
				}
			}
			c.Echo(t, "still here")
			c.CloseWrite(t)
			c.ExpectEnd(t)
			if end := c.End(t); end.Code() != 0 || end.Signal != "" {
				t.Errorf("unexpected end: %s", end.Line)
			}
			stopped(t, m)
		})
	}
}

// With nobody connected a drain is over as soon as the spares are gone, those
// included that were just being started.
func TestDrainOfSpares(t *testing.T) {
	t.Parallel()
	for name, args := range spareKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := range 4 {
				m := systest.Start(t, with("--spares 8 --drain-timeout 1h --kill-delay 1h", args...)...)
				if n%2 == 0 {
					m.WaitSpares(t, 8)
				}
				drain(t, m, []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[n%2])
				stopped(t, m)
				if n := len(m.Events(systest.Is("stopping workers"))); n > 0 {
					t.Error("spares that were told to go had to be stopped")
				}
			}
		})
	}
}

// Where connections find no spare there are soon more of them, and never more
// than the most.
func TestSparesAdapt(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--min-spares 1 --max-spares 6", "echo")...)
	m.WaitSpares(t, 1)
	// Two at a time, of which the second misses.
	var most int
	systest.Until(t, "as many spares as there may be", func() bool {
		for _, c := range m.DialAll(t, 8) {
			c.Echo(t, "hello")
			c.Close()
		}
		m.WaitIdle(t)
		before := len(m.Events(systest.Is("status")))
		m.Signal(t, syscall.SIGUSR1)
		for _, e := range m.Wait(t, before+2, systest.Is("status"))[before:] {
			if e.Spares != nil {
				most = max(most, *e.Spares)
			}
		}
		return most >= 6
	}, func() string { return fmt.Sprintf("%d spares", most) })
	if most > 6 {
		t.Errorf("%d spares, at most 6 are allowed", most)
	}
}

// Without a minimum there is no spare before the first connection.
func TestNoSparesWithoutNeed(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--min-spares 0 --max-spares 2", "echo")...)
	m.WaitSpares(t, 0)
	asked(t, m)
	if c := systest.Children(m.PID); len(c) > 0 {
		t.Errorf("children before there was a need: %+v", c)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	systest.Until(t, "a spare after a connection that missed one", func() bool { return len(m.SparePIDs()) > 0 }, nil)
}

// A spare that was given a connection while it stood still is ended after some
// seconds. The connection, of which it has read nothing, goes to another.
func TestStoppedSpareLosesItsConnection(t *testing.T) {
	t.Parallel()
	for name, args := range spareKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares 1", args...)...)
			stopped := m.WaitSpares(t, 1)[0]
			systest.Halt(t, stopped)
			c := m.Dial(t)
			c.Send(t, "hello")
			c.Expect(t, "hello")
			e := c.Accepted(t)
			if e.PID != stopped {
				t.Errorf("was not given to the spare: %s", e.Line)
			}
			again := m.WaitFor(t, systest.Of(systest.Reassigned, e.Conn))
			c.CloseWrite(t)
			c.ExpectEnd(t)
			if end := c.End(t); end.Code() != 0 || end.PID == stopped || end.PID != again.PID {
				t.Errorf("unexpected end: %s after %s", end.Line, again.Line)
			}
			end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.PID == stopped })
			if end.Signal != "SIGKILL" || end.Conn != "" {
				t.Errorf("unexpected end: %s", end.Line)
			}
		})
	}
}

// A spare that stands still holds up a drain for no longer than the sweep lets
// it, whatever the timeouts.
func TestStoppedSpareDoesNotHoldUpADrain(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--spares 2 --drain-timeout 1h --kill-delay 1h", "echo")...)
	pid := m.WaitSpares(t, 2)[0]
	systest.Halt(t, pid)
	drain(t, m, syscall.SIGTERM)
	stopped(t, m)
	if end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.PID == pid }); end.Signal != "SIGKILL" {
		t.Errorf("unexpected end: %s", end.Line)
	}
}

// Spares of a built-in handler wait, and serve, without the right to gain
// privileges and behind a filter of system calls; programs are left alone.
func TestConfinement(t *testing.T) {
	t.Parallel()
	for _, spares := range []string{"0", "2"} {
		for name, args := range spareKinds(t) {
			t.Run(name+" "+spares, func(t *testing.T) {
				t.Parallel()
				m := systest.Start(t, with("--spares "+spares, args...)...)
				c := m.Dial(t)
				c.Echo(t, "hello")
				pids := append(m.SparePIDs(), c.Worker(t))
				if spares != "0" {
					pids = append(m.WaitSpares(t, 2), c.Worker(t))
				}
				for _, pid := range pids {
					s := systest.ReadStatus(pid)
					if confined := name == "builtin"; s.NoNewPrivs != confined || (s.Seccomp == unix.SECCOMP_MODE_FILTER) != confined {
						t.Errorf("%d: no_new_privs %t, seccomp %d", pid, s.NoNewPrivs, s.Seccomp)
					}
				}
			})
		}
	}
}

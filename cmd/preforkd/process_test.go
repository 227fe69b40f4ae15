package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// handoffs are the ways in which a worker comes to be.
var handoffs = map[string][]string{
	"builtin": {"echo"},
	"stdio":   {"--", "/bin/cat"},
	"worker":  {"--handoff", "worker", "--", "/bin/sh", "-c", "exec cat <&3 >&3"},
	"systemd": {"--handoff", "systemd", "--", "/bin/sh", "-c", "exec cat <&3 >&3"},

	"spare builtin": {"--spares", "2", "echo"},
	"spare stdio":   {"--spares", "2", "--", "/bin/cat"},
	"spare systemd": {"--spares", "2", "--handoff", "systemd", "--", "/bin/sh", "-c", "exec cat <&3 >&3"},
}

// dialSpare connects to a master whose spares, if it is to have any, wait.
func dialSpare(t *testing.T, m *systest.Master) *systest.Client {
	t.Helper()
	if m.Spares == 0 {
		return m.Dial(t)
	}
	waiting := m.WaitSpares(t, m.Spares)
	c := m.Dial(t)
	if pid := c.Accepted(t).PID; !slices.Contains(waiting, pid) {
		t.Errorf("served by %d, the spares were %v", pid, waiting)
	}
	return c
}

// Every worker leads a session, and so a process group, of its own.
func TestOwnSession(t *testing.T) {
	t.Parallel()
	for name, args := range handoffs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, args...)
			for range 3 {
				c := dialSpare(t, m)
				c.Echo(t, "hello")
				p, ok := systest.Stat(c.Worker(t))
				if !ok || p.Group != p.PID || p.Session != p.PID {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// A worker begins with default signals, whatever the master began with.
func TestDefaultSignals(t *testing.T) {
	t.Parallel()
	for how, wrap := range map[string][]string{
		"plain":   nil,
		"ignored": sh(`trap '' INT HUP QUIT PIPE TSTP TTIN TTOU USR1 USR2 ALRM TERM; exec "$@"`, "sh"),
		"blocked": systest.Helper("blocked"),
	} {
		for name, args := range handoffs {
			t.Run(how+" "+name, func(t *testing.T) {
				t.Parallel()
				m := systest.Options{Wrap: wrap, Args: args}.Start(t)
				c := dialSpare(t, m)
				c.Echo(t, "hello")
				s := systest.ReadStatus(c.Worker(t))
				if s.Threads == 0 {
					t.Fatal("no status")
				}
				if s.Blocked != 0 {
					t.Errorf("blocked signals: %s", signalNames(s.Blocked))
				}
				// The worker of a built-in handler is a Go program that may
				// ignore SIGPIPE for itself.
				ignored := s.Ignored
				if strings.HasSuffix(name, "builtin") {
					ignored &^= 1 << (unix.SIGPIPE - 1)
				}
				if ignored != 0 {
					t.Errorf("ignored signals: %s", signalNames(s.Ignored))
				}
			})
		}
	}
}

// Signals that were ignored or blocked when the master started stop it all the
// same: the end of every test with such a master sends SIGTERM, here SIGINT.
func TestMasterHearsSignalsItInherited(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string][]string{
		"ignored": sh(`trap '' INT HUP QUIT USR1 TERM CHLD; exec "$@"`, "sh"),
		"blocked": systest.Helper("blocked"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{Wrap: wrap, Args: program("/bin/cat")}.Start(t)
			c := m.Dial(t)
			c.Echo(t, "hello")
			c.Close()
			c.End(t) // SIGCHLD is heard
			m.StopSignal = unix.SIGINT
		})
	}
}

func signalNames(mask uint64) string {
	var names []string
	for n := range 64 {
		if mask&(1<<n) != 0 {
			name := unix.SignalName(unix.Signal(n + 1))
			if name == "" {
				name = fmt.Sprint(n + 1)
			}
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// Programs that use select(2) break on large descriptors, so the limit that the
// master raises for itself must not reach them.
func TestDescriptorLimitIsNotRaised(t *testing.T) {
	t.Parallel()
	for name, args := range handoffs {
		if strings.HasSuffix(name, "builtin") {
			continue // a Go program like the master: it has raised its own by the time we look
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{Wrap: sh(`ulimit -Sn 123; exec "$@"`, "sh"), Args: args}.Start(t)
			c := dialSpare(t, m)
			c.Echo(t, "hello")
			pid := c.Worker(t)
			limit, err := systest.Limit(pid, unix.RLIMIT_NOFILE)
			if err != nil || limit.Cur != 123 {
				t.Errorf("RLIMIT_NOFILE is %+v, %v; want a soft limit of 123", limit, err)
			}
		})
	}
}

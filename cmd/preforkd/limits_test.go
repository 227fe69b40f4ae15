package main

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc"
)

// echoes return the arguments that serve with the echo handler, and with one of the SDK.
var echoes = map[string]func(t *testing.T, flags string) []string{
	"builtin": func(_ *testing.T, flags string) []string { return with(flags, "echo") },
	"sdk":     func(t *testing.T, flags string) []string { return sdk(t, flags, "echo") },
}

// A connection on which nothing moves ends, one on which something does not,
// and each for the reason that the log gives.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	for how, flags := range waysToStart {
		for name, echo := range echoes {
			t.Run(how+" "+name, func(t *testing.T) {
				t.Parallel()
				m := systest.Start(t, echo(t, flags+" --idle-timeout 300ms")...)
				for range 2 {
					c := dialSome(t, m)
					c.Echo(t, "hello")
					if rest := c.ExpectEnd(t); rest != "" {
						t.Errorf("at the end: %q", rest)
					}
					c.Close()
					end := c.End(t)
					if end.Reason != "idle-timeout" || end.Msg == systest.Reaped && end.Code() != 108 || end.BytesIn == nil || *end.BytesIn != 5 {
						t.Errorf("unexpected end: %s", end.Line)
					}
					if *end.Duration < 0.3 {
						t.Errorf("too soon: %s", end.Line)
					}
				}
			})
		}
	}
}

// A connection ends when its time is over, however busy it is.
func TestMaxLifetime(t *testing.T) {
	t.Parallel()
	for how, flags := range waysToStart {
		for name, echo := range echoes {
			t.Run(how+" "+name, func(t *testing.T) {
				t.Parallel()
				m := systest.Start(t, echo(t, flags+" --max-lifetime 300ms")...)
				for range 2 {
					c := dialSome(t, m)
					for c.TryEcho("busy") == nil {
					}
					c.Close()
					end := c.End(t)
					if end.Reason != "max-lifetime" || end.Msg == systest.Reaped && end.Code() != 109 {
						t.Errorf("unexpected end: %s", end.Line)
					}
					if *end.Duration < 0.3 {
						t.Errorf("too soon: %s", end.Line)
					}
				}
			})
		}
	}
}

// Where the worker does not end its connection, the master ends the worker:
// first it asks, then it does not.
func TestMasterEnforcesMaxLifetime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		signal string
		stop   bool
	}{
		"program":         {program("/bin/cat"), "SIGTERM", false},
		"stubborn":        {program(sh(`trap '' TERM; exec cat`)...), "SIGKILL", false},
		"builtin stopped": {[]string{"echo"}, "SIGKILL", true},
		"sdk stopped":     {sdk(t, "", "echo"), "SIGKILL", true},
	} {
		for _, spares := range []string{"0", "2"} {
			t.Run(name+" "+spares, func(t *testing.T) {
				t.Parallel()
				m := systest.Start(t, with("--spares "+spares+" --max-lifetime 1s --kill-delay 100ms", c.args...)...)
				client := dialSpare(t, m)
				client.Echo(t, "hello")
				if c.stop {
					systest.Halt(t, client.Worker(t))
				}
				client.ExpectGone(t)
				end := client.End(t)
				// What stands still goes on after SIGTERM. Then the signal ends it, or
				// its own clock does, if it gets to that before SIGKILL.
				ended := end.Signal == c.signal || c.stop && (end.Signal == "SIGTERM" || end.Code() == ipc.ExitLifetime)
				if !ended {
					t.Errorf("want %s: %s", c.signal, end.Line)
				}
				said := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Overdue && e.PID == end.PID })
				if said.Signal != "SIGTERM" {
					t.Errorf("should have been asked first: %s", said.Line)
				}
			})
		}
	}
}

// The same holds for silence, which the kernel keeps the time of.
func TestMasterEnforcesIdleTimeout(t *testing.T) {
	t.Parallel()
	for _, spares := range []string{"0", "2"} {
		t.Run(spares, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares "+spares+" --idle-timeout 200ms --kill-delay 100ms", "echo")...)
			client := dialSpare(t, m)
			client.Echo(t, "hello")
			systest.Halt(t, client.Worker(t))
			client.ExpectGone(t)
			end := client.End(t)
			said := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Overdue && e.PID == end.PID })
			if said.Signal != "SIGTERM" {
				t.Errorf("should have been asked first: %s", said.Line)
			}
		})
	}
}

// It holds for workers of another user, too, whose descriptors a master without
// every right of root may not look at.
func TestMasterEnforcesIdleTimeoutOfAnotherUser(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for _, listen := range []string{"127.0.0.1:0", ":0"} {
		m := systest.Options{
			Args: with("--listen "+listen+" --user 65534 --group 65534 --idle-timeout 200ms --kill-delay 100ms --handoff worker", program("/bin/sleep", "1000")...),
			Attr: &syscall.SysProcAttr{
				Credential:  &syscall.Credential{Uid: 65533, Gid: 65533, NoSetGroups: true},
				AmbientCaps: []uintptr{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL},
			},
		}.Start(t)
		client := m.DialTo(t, "tcp", "127.0.0.1:"+m.Listeners[0].Port())
		client.ExpectGone(t)
		if end := client.End(t); end.Signal != "SIGTERM" {
			t.Errorf("%s", end.Line)
		}
	}
}

// Time that a worker waits for its connection is not the connection's.
func TestLifetimeBeginsWithTheConnection(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, with("--spares 1 --idle-timeout 1s --max-lifetime 2s --kill-delay 1ms", "echo")...)
	pids := m.WaitSpares(t, 1)
	// Longer than both limits: three sweeps of the master.
	first := m.Dial(t)
	first.Echo(t, "hello")
	first.ExpectGone(t)
	first.End(t)
	second := m.WaitSpares(t, 1)
	if len(pids) != 1 || len(second) != 1 {
		t.Fatalf("spares %v, then %v", pids, second)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	if end := c.End(t); end.Reason != "eof" || end.Signal != "" {
		t.Errorf("unexpected end: %s", end.Line)
	}
}

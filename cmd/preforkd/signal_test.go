package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Without a configuration file there is nothing to reload, which is said and
// does no harm.
func TestHangup(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	c := m.Dial(t)
	c.Echo(t, "before")
	before := len(m.Events(anyEvent))
	m.Signal(t, syscall.SIGHUP)
	answer := m.Wait(t, before+1, anyEvent)[before]
	if answer.Msg == systest.Draining || answer.Msg == systest.Stopped || answer.Level == "error" {
		t.Errorf("SIGHUP was answered with: %s", answer.Line)
	}
	c.Echo(t, "after")
	m.Dial(t).Echo(t, "new")
}

func TestStatusSignal(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	c := m.Dial(t)
	c.Echo(t, "before")
	c.Accepted(t)
	m.Signal(t, syscall.SIGUSR1)
	if status := m.WaitFor(t, systest.Is("status")); status.Level != "info" {
		t.Errorf("status at level %q: %s", status.Level, status.Line)
	}
	c.Echo(t, "after")
}

// Ctrl-C on a terminal reaches the whole foreground process group. Workers are
// in groups of their own, so that it is the master who decides: a drain.
func TestInterruptFromTerminal(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"worker": {"echo"}, "stdio": program("/bin/cat")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{Terminal: true, Args: append([]string{"--drain-timeout", "1h"}, args...)}.Start(t)
			c := m.Dial(t)
			c.Echo(t, "before")
			c.Accepted(t) // Ctrl-C discards output that the terminal still holds
			if _, err := m.Terminal.Write([]byte{3}); err != nil {
				t.Fatal(err)
			}
			m.WaitFor(t, systest.Is(systest.Draining))
			c.Echo(t, "during the drain")
			c.CloseWrite(t)
			c.ExpectEnd(t)
			if end := c.End(t); end.Code() != 0 || end.Signal != "" {
				t.Errorf("unexpected end: %s", end.Line)
			}
			m.WaitFor(t, systest.Is(systest.Stopped))
			if code := m.WaitExit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// A terminal that is closed hangs up its session. That is a SIGHUP like any
// other, and a log that goes nowhere.
func TestTerminalGoesAway(t *testing.T) {
	t.Parallel()
	m := systest.Options{Terminal: true, Args: []string{"echo"}}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "before")
	m.Killed = true // it cannot say anything any more
	m.Terminal.Close()
	c.Echo(t, "after")
	m.Dial(t).Echo(t, "new")
	m.Signal(t, syscall.SIGQUIT)
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// From the moment that something is bound, a signal to stop is a stop in order:
// it does not kill the master and leave its socket behind.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/s"
	for range 20 {
		m := systest.Options{Args: []string{"--listen", "unix:" + path, "echo"}, Quiet: true}.Start(t)
		for end := time.Now().Add(systest.Deadline()); ; {
			if _, err := os.Lstat(path); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the master does not bind its socket")
			}
		}
		m.Signal(t, syscall.SIGTERM)
		stopped(t, m)
		if _, err := os.Lstat(path); err == nil {
			t.Fatal("the socket is left behind")
		}
	}
}

// A master that only has to get rid of its last lines has stopped in order,
// however often it is told to.
func TestStopAfterTheEnd(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	m.LossyLog = true
	m.PauseLog()
	for range 100 { // more than the pipe holds
		m.Signal(t, syscall.SIGUSR1)
		time.Sleep(time.Millisecond) // the kernel keeps one at a time
	}
	signals := 0
	systest.Until(t, "told to stop 50 times", func() bool {
		m.Signal(t, syscall.SIGTERM)
		signals++
		return signals == 50
	}, nil)
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

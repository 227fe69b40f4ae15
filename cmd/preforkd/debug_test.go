package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// --once serves one connection and ends with its worker's code.
func TestOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		code int
	}{
		{"echo", []string{"echo"}, 0},
		{"success", program(sh("read line")...), 0},
		{"failure", program(sh("read line; exit 7")...), 7},
		{"SIGKILL", program(sh("read line; kill -KILL $$")...), 128 + 9},
		{"SIGSEGV", program(sh("read line; kill -SEGV $$")...), 128 + 11},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, append([]string{"--once"}, c.args...)...)
			m.WantCode = c.code
			client := m.Dial(t)
			client.Accepted(t)
			systest.Until(t, "closed to others", func() bool {
				other, err := net.Dial("tcp", m.Listeners[0].Address)
				if err == nil {
					other.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			}, nil)
			client.Send(t, "hello\n")
			client.CloseWrite(t)
			client.ExpectGone(t)
			if code := m.WaitExit(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			m.WaitLogEnd(t)
			if n := len(m.Events(systest.Is(systest.Reaped))); n != 1 {
				t.Errorf("%d workers were reaped", n)
			}
		})
	}
}

// --once is one connection, however many come together and on however many
// listeners. The others find the door closed and are not half served.
func TestOnceOfMany(t *testing.T) {
	t.Parallel()
	for range 5 {
		m := systest.Start(t, append([]string{"--once", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"},
			program(sh("read line; exit 7")...)...)...)
		m.WantCode = 7
		start := make(chan struct{})
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				<-start
				c, err := net.Dial("tcp", m.Listeners[i%2].Address)
				if err != nil {
					return
				}
				defer c.Close()
				c.Write([]byte("hello\n"))
				io.Copy(io.Discard, c)
			})
		}
		close(start)
		clients.Wait()
		if code := m.WaitExit(t); code != 7 {
			t.Errorf("exit code %d", code)
		}
		m.WaitLogEnd(t)
		if n := len(m.Events(systest.Is(systest.Accepted))); n != 1 {
			t.Errorf("%d connections were accepted", n)
		}
	}
}

// The code of a client that came, not of one that gave up in the backlog or of
// a signal: stopped before anybody came is a clean stop.
func TestOnceIsStopped(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "--once", "echo")
	m.Signal(t, syscall.SIGTERM)
	stopped(t, m)
}

// --once with a program that has gone since is a failure at run time.
func TestOnceCannotSpawn(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/program"
	systest.CopyProgram(t, realPath(t, "/bin/cat"), path)
	m := systest.Start(t, "--once", "--", path)
	m.WantCode = 1
	chmod(t, path, 0o644)
	m.Dial(t).ExpectGone(t)
	if code := m.WaitExit(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// --wrap puts a tool in front of every worker, for either handoff.
func TestWrap(t *testing.T) {
	t.Parallel()
	strace := systest.Need(t, "strace")
	for name, args := range map[string][]string{"worker": {"echo"}, "stdio": program("/bin/cat")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := systest.Dir(t) + "/a trace" // the command line has words, as in a shell
			m := systest.Start(t, append([]string{"--wrap", strace + " -f -qq -o '" + out + "' -e trace=execve,exit_group"}, args...)...)
			c := m.Dial(t)
			c.Echo(t, "hello")
			c.Close()
			if end := c.End(t); end.Code() != 0 {
				t.Errorf("unexpected end: %s", end.Line)
			}
			trace, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			// strace writes a call in two parts when another thread's comes between.
			if !strings.Contains(string(trace), "execve(") || !strings.Contains(string(trace), "exit_group(0") {
				t.Errorf("the trace has no worker's life:\n%s", trace)
			}
		})
	}
}

// A wrapper that gives up is a worker that does.
func TestWrapFails(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "--wrap", "/bin/false", "echo")
	c := m.Dial(t)
	c.ExpectGone(t)
	if end := c.End(t); end.Code() != 1 {
		t.Errorf("want code 1: %s", end.Line)
	}
}

// --debug logs more, for people.
func TestDebug(t *testing.T) {
	t.Parallel()
	m := systest.Options{LogFormat: "none", Quiet: true, Args: []string{"--debug", "echo"}}.Start(t)
	m.LossyLog = true // it is not of events
	line := m.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, systest.Listening) })
	if strings.HasPrefix(line.Line, "{") {
		t.Errorf("--debug logs JSON: %s", line.Line)
	}
	c := m.Wrap(dialFirst(t, line.Line))
	defer c.Close()
	c.Echo(t, "hello")
	m.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, c.LocalAddr().String()) })
	m.Baseline(t)
	c.Close()
	m.StopSignal = syscall.SIGQUIT
}

// dialFirst connects to the first address of 127.0.0.1 that a line names.
func dialFirst(t *testing.T, line string) net.Conn {
	t.Helper()
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\x1b,;=", r) }) {
		if strings.HasPrefix(word, "127.0.0.1:") {
			c, err := net.Dial("tcp", word)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no address in %q", line)
	return nil
}

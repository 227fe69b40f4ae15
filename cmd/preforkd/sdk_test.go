package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// sdk returns the arguments that serve with a handler built on the SDK.
func sdk(t *testing.T, flags, handler string) []string {
	t.Helper()
	program := systest.Program(t, "cmd/internal/systest/testworker")
	if strings.Contains(flags, "strict") {
		needBoxes(t)
		visible := filepath.Join(visibleDir(t), "testworker")
		systest.CopyProgram(t, program, visible)
		program = visible
	}
	return with("--handoff worker "+flags, "--", program, handler)
}

// waysToStart are the flags for the ways in which an SDK worker comes to its
// connection.
var waysToStart = map[string]string{
	"spawned": "",
	"spare":   "--spares 2",
	"reused":  "--min-spares 0 --max-spares 2 --connections-per-worker 5",
	// In a box it is the same.
	"boxed":        "--box-preset strict",
	"boxed spare":  "--spares 2 --box-preset strict",
	"boxed reused": "--min-spares 0 --max-spares 2 --connections-per-worker 5 --box-preset strict --box-private-tmp=false",
}

// A handler knows of its connection what the log says of it.
func TestHandlerKnowsItsConnection(t *testing.T) {
	t.Parallel()
	for how, flags := range waysToStart {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, sdk(t, flags, "who")...)
			for range 4 {
				c := dialSome(t, m)
				e := c.Accepted(t)
				want := fmt.Sprintf("%s %s %s %s\n", e.Conn, e.Service, e.Peer, e.Local)
				if got := c.ExpectEnd(t); got != want {
					t.Errorf("the handler says %q, the log %q", got, want)
				}
				c.Close()
				if end := c.End(t); end.Reason != "done" {
					t.Errorf("unexpected end: %s", end.Line)
				}
			}
		})
	}
}

// dialSome is dialSpare for a master that need not have any spares now.
func dialSome(t *testing.T, m *systest.Master) *systest.Client {
	t.Helper()
	if m.Spares > 0 {
		asked(t, m)
	}
	return m.Dial(t)
}

// What a handler reports, and how it ends, stands in the connection's event.
func TestHandlerReports(t *testing.T) {
	t.Parallel()
	for how, flags := range waysToStart {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, sdk(t, flags, "lines")...)
			m.WorkersCrash = true
			for _, test := range []struct {
				last   string
				reason string
				code   int
				stderr string
			}{
				{"exit\n", "done", 0, ""},
				{"", "eof", 0, ""},
				{"fail miserably\n", "error", 100, "miserably"},
				{"panic in between\n", "panic", 107, "panic: in between"},
			} {
				c := dialSome(t, m)
				c.Send(t, "report user joe\nreport requests 2\nreport user jane \"x\"\nreport Bad key\n")
				c.Expect(t, "ok\nok\nok\nkey \"Bad\"")
				c.Send(t, test.last)
				c.CloseWrite(t)
				c.ExpectEnd(t)
				c.Close()
				end := c.End(t)
				if end.Reason != test.reason || end.Msg == systest.Reaped && end.Code() != test.code {
					t.Errorf("want %s, %d: %s", test.reason, test.code, end.Line)
				}
				if len(end.Report) != 2 || end.Report["user"] != `jane "x"` || end.Report["requests"] != "2" {
					t.Errorf("the report is %q: %s", end.Report, end.Line)
				}
				if test.stderr != "" {
					m.WaitFor(t, func(e systest.Event) bool { return e.Msg == "" && strings.Contains(e.Line, test.stderr) })
				}
			}
		})
	}
}

// A drain reaches handlers as the end of their context: they say good-bye and
// are gone long before anybody would stop them. Those that do not look at it
// finish what they have.
func TestDrainReachesHandlers(t *testing.T) {
	t.Parallel()
	for how, flags := range waysToStart {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(fmt.Sprintf("%s %v", how, sig), func(t *testing.T) {
				t.Parallel()
				m := systest.Start(t, sdk(t, flags+" --drain-timeout 1h --kill-delay 1h", "goodbye")...)
				clients := m.DialAll(t, 5)
				for _, c := range clients {
					c.Echo(t, "hello\n")
				}
				drain(t, m, sig)
				for _, c := range clients {
					if got := c.ExpectEnd(t); got != "goodbye\n" {
						t.Errorf("the last words are %q", got)
					}
					if end := c.End(t); end.Reason != "drain" || end.Code() != 0 {
						t.Errorf("unexpected end: %s", end.Line)
					}
				}
				stopped(t, m)
			})
		}
	}
}

// Handlers of connections that arrive while the drain begins hear of it too:
// every client that was accepted gets the good-bye, and nobody has to be
// stopped.
func TestDrainReachesConnectionsOnTheirWay(t *testing.T) {
	t.Parallel()
	for how, flags := range waysToStart {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for n := range 2 {
				m := systest.Start(t, sdk(t, flags+" --drain-timeout 1h --kill-delay 1h", "goodbye")...)
				clients := make(chan []*systest.Client, 1)
				go func() {
					var all []*systest.Client
					for {
						c, err := m.TryDial()
						if err != nil {
							clients <- all
							return
						}
						all = append(all, c)
					}
				}()
				m.Wait(t, 3+n, systest.Is(systest.Accepted))
				drain(t, m, syscall.SIGTERM)
				stopped(t, m)
				for _, c := range <-clients {
					c.Close()
				}
				for _, e := range m.Events(func(e systest.Event) bool { return e.Conn != "" && e.Msg == systest.Reaped }) {
					if e.Reason != "drain" {
						t.Errorf("unexpected end: %s", e.Line)
					}
				}
			}
		})
	}
}

// Workers outlive a master that was killed for as long as their connection
// lasts, and spares, which have none, do not outlive it at all.
func TestMasterKilledWithSpares(t *testing.T) {
	t.Parallel()
	for name, args := range spareKinds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--spares 3", args...)...)
			m.WaitSpares(t, 3)
			var live []int
			clients := m.DialAll(t, 5) // of spares and, most likely, of spawned workers
			for _, c := range clients {
				c.Echo(t, "hello")
				live = append(live, c.Worker(t))
			}
			idle := m.WaitSpares(t, 3)
			m.Kill(t)
			for _, pid := range idle {
				systest.Until(t, "a spare that has gone with its master", func() bool { return !systest.Alive(pid) }, nil)
			}
			for i, c := range clients {
				if !systest.Alive(live[i]) {
					t.Errorf("%d has gone with its master", live[i])
				}
				c.Echo(t, "still here")
				c.CloseWrite(t)
				c.ExpectEnd(t)
				systest.Until(t, "a worker that has gone with its connection", func() bool { return !systest.Alive(live[i]) }, nil)
			}
			m.WaitLogEnd(t) // nobody holds its stderr
		})
	}
}

// A reused worker whose master was killed finishes its connection and does not
// wait for another.
func TestMasterKilledWithReusedWorker(t *testing.T) {
	t.Parallel()
	for name, args := range reuse(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, with("--min-spares 0 --max-spares 2 --connections-per-worker 9", args...)...)
			c := m.Dial(t)
			c.Echo(t, "hello")
			m.Kill(t)
			c.Echo(t, "still here")
			c.CloseWrite(t)
			c.ExpectEnd(t)
			m.WaitLogEnd(t)
		})
	}
}

package main

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What a program leaves behind ends with the connection, whatever its session, its
// parent, its environment and the signals that it ignores: the client sees the end, and
// the log counts what was left in its cell. Without a box it lives on.
func TestBoxLeftoversEnd(t *testing.T) {
	t.Parallel()
	// A child of the master can be made only where namespaces can, too.
	for attempt, service := range map[string]string{"daemon": "strict", "sibling": "namespaces"} {
		for _, handoff := range []string{"stdio", "worker"} {
			t.Run(attempt+" "+handoff, func(t *testing.T) {
				t.Parallel()
				services := presets()
				services["namespaces"] = services["strict"] + "\nbox.restrict-namespaces = false"
				for service := range services {
					services[service] += "\nhandoff = \"" + handoff + "\""
				}
				m := startBoxed(t, services)
				p := m.dial(t, service)
				p.does(t, attempt)
				left := leftBehind(m, p.Worker(t))
				if len(left) != 1 {
					t.Fatalf("left behind: %+v", left)
				}
				p.Send(t, "exit\n")
				p.ExpectGone(t)
				end := p.End(t)
				if !strings.Contains(end.Line, `"leftovers":1`) || systest.Alive(left[0].PID) {
					t.Errorf("%+v; the end: %s", left[0], end.Line)
				}

				if attempt == "sibling" {
					p = m.dial(t, "strict")
					p.fails(t, attempt, denied)
					p.Send(t, "exit\n")
					p.End(t)
				}
				p = m.dial(t, "none")
				p.does(t, attempt)
				left = leftBehind(m, p.Worker(t))
				p.Send(t, "exit\n")
				p.End(t)
				if len(left) != 1 || !systest.Alive(left[0].PID) {
					t.Errorf("without a box: %+v", left)
				}
				for _, l := range left {
					unix.Kill(l.PID, unix.SIGKILL)
				}
			})
		}
	}
}

// leftBehind returns the processes of the program that a worker has started, but for
// the worker.
func leftBehind(m *boxed, worker int) (left []systest.Process) {
	for _, p := range m.Descendants() {
		if p.PID != worker && p.State != 'Z' && systest.Executable(p.PID) == m.dir+"/boxprobe" {
			left = append(left, p)
		}
	}
	return left
}

// A program that ignores SIGTERM ends with its max-lifetime, and with the master.
func TestBoxEndsWhoIgnoresTerm(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, map[string]string{
		"strict": "box.preset = \"strict\"\nmax-lifetime = \"1s\"",
		"kept":   `box.preset = "strict"`,
		"obeys":  "box.preset = \"strict\"\nprogram = [\"/bin/cat\"]",
	})
	p := m.dial(t, "strict")
	p.does(t, "ignore-term")
	p.does(t, "daemon")
	p.ExpectGone(t)
	if end := p.End(t); end.Signal != "SIGKILL" || !strings.Contains(end.Line, `"leftovers":1`) {
		t.Errorf("the end: %s", end.Line)
	}
	// One that does not ignore it ends by it: it is not the first of its namespace.
	obeying := m.dial(t, "obeys")
	unix.Kill(obeying.Worker(t), unix.SIGTERM)
	if end := obeying.End(t); end.Signal != "SIGTERM" {
		t.Errorf("the end: %s", end.Line)
	}
	kept := m.dial(t, "kept")
	kept.does(t, "ignore-term")
	kept.does(t, "daemon")
	m.StopSignal = unix.SIGQUIT
	m.WantCode = 0
	m.Stop(t)
	kept.ExpectGone(t)
}

// A fork bomb has as many processes as its limit allows, and none once its connection
// has ended. What has the limit is the user of the connection, so nobody else is short
// of processes.
func TestBoxBoundsProcesses(t *testing.T) {
	t.Parallel()
	const limit, without = 40, 100
	bomb := fmt.Sprintf(`program = ["/bin/sh", "-c", "read x; i=0; while test $i -lt %d; do sleep 1000 & i=$((i+1)); echo $i; done"]`, without)
	m := startBoxed(t, map[string]string{
		"none":   bomb,
		"strict": bomb + "\nbox.preset = \"strict\"\nbox.limit-nproc = \"" + fmt.Sprint(limit) + "\"",
		"other":  "box.preset = \"strict\"\nbox.limit-nproc = \"" + fmt.Sprint(limit) + "\"",
	})
	began := func(service string) int {
		c := m.dial(t, service)
		c.Send(t, "\n")
		n := strings.Count(c.ExpectEnd(t), "\n")
		end := c.End(t)
		if !strings.Contains(end.Line, fmt.Sprintf(`"leftovers":%d`, n)) {
			t.Errorf("%d processes: %s", n, end.Line)
		}
		return n
	}
	if n := began("none"); n != without {
		t.Errorf("%d processes without a box", n)
	}
	neighbour := m.dial(t, "other")
	for range 3 {
		if n := began("strict"); n < limit/2 || n >= limit {
			t.Errorf("%d processes with a limit of %d", n, limit)
		}
		neighbour.does(t, "daemon")
	}
}

package systest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// WaitIdle waits until the master has accounted for every connection, has no
// child but spares and idle cells, and its descriptors are those of the baseline and
// a control channel for each spare and each cell.
func (m *Master) WaitIdle(t testing.TB) {
	t.Helper()
	if !m.LossyLog {
		Until(t, "every accepted connection is accounted for", func() bool {
			return len(m.unaccounted()) == 0 || m.Ended()
		}, func() string { return fmt.Sprintf("connections %v have no end", m.unaccounted()) })
	}
	if m.Ended() {
		t.Fatalf("the master has ended: %v", m.cmd.ProcessState)
	}
	switch {
	case m.Boxed:
		Until(t, "without children but spares and cells", func() bool {
			all, cells := len(Children(m.PID)), len(m.Cells())
			own := 0
			if m.Parks {
				own++ // the socket of the thread that holds what was moved
			}
			return all-cells <= m.Spares && m.Channels() == own+all+cells
		}, func() string {
			return fmt.Sprintf("%d channels and pidfds for %+v, cells among them: %+v", m.Channels(), Children(m.PID), m.Cells())
		})
	case m.Spares == 0:
		Until(t, "without children", func() bool { return len(Children(m.PID)) == 0 }, func() string {
			return fmt.Sprintf("%+v", Children(m.PID))
		})
	default:
		Until(t, "without children but spares", func() bool {
			n := len(Children(m.PID))
			return n <= m.Spares && m.Channels() == n
		}, func() string {
			return fmt.Sprintf("%d channels for %+v", m.Channels(), Children(m.PID))
		})
	}
	Until(t, "back to the descriptors of the baseline", func() bool {
		return m.atBaseline()
	}, func() string {
		return fmt.Sprintf("\n%s\nbaseline:\n%s", strings.Join(m.descriptors(), "\n"), strings.Join(m.baseline, "\n"))
	})
}

// Cells returns the first processes of the cells of a master's boxes.
func (m *Master) Cells() []Process {
	return slices.DeleteFunc(Children(m.PID), func(p Process) bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		return err != nil || string(text) != "preforkd-cell\x00"
	})
}

// Ended reports whether the master has ended.
func (m *Master) Ended() bool {
	select {
	case <-m.exited:
		return true
	default:
		return false
	}
}

// unaccounted returns the accepted connections that have no end yet.
func (m *Master) unaccounted() []string {
	ends := m.ends()
	var open []string
	for _, e := range m.Events(Is(Accepted)) {
		if ends[e.Conn] == 0 {
			open = append(open, e.Conn)
		}
	}
	return open
}

// ends counts, by connection, the events that end one.
func (m *Master) ends() map[string]int {
	ends := map[string]int{}
	for _, e := range m.Events(func(e Event) bool {
		return e.Msg == Reaped || e.Msg == Ended || e.Msg == Refused || e.Msg == SpawnFailed
	}) {
		if e.Conn != "" {
			ends[e.Conn]++
		}
	}
	return ends
}

// Descendants returns the living processes that descend from the master,
// including those in the groups of its workers whose parents have gone.
func (m *Master) Descendants() (found []Process) {
	groups := map[int]bool{}
	if !m.OwnPIDs {
		for _, e := range m.Events(func(e Event) bool { return e.PID > 0 }) {
			groups[e.PID] = true
		}
	}
	children := map[int][]Process{}
	for _, p := range processes(func(Process) bool { return true }) {
		children[p.Parent] = append(children[p.Parent], p)
		if groups[p.Group] && p.State != 'Z' && p.State != 'X' {
			found = append(found, p)
		}
	}
	for parents := []int{m.PID}; len(parents) > 0; parents = parents[1:] {
		for _, p := range children[parents[0]] {
			found = append(found, p)
			parents = append(parents, p.PID)
		}
	}
	return found
}

// holders returns the processes that have the master's stderr for theirs:
// workers that the log does not know, for one.
func (m *Master) holders() []Process {
	if m.stderr == nil {
		return nil
	}
	info, err := m.stderr.Stat()
	if err != nil {
		return nil
	}
	pipe := fmt.Sprintf("pipe:[%d]", info.Sys().(*syscall.Stat_t).Ino)
	return processes(func(p Process) bool {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", p.PID))
		return err == nil && target == pipe
	})
}

// finish stops the master and checks it, see Master.
func (m *Master) finish() {
	t := m.t
	t.Helper()
	defer func() {
		m.ResumeLog()
		left := m.Descendants()
		m.cmd.Process.Kill()
		<-m.exited
		for _, p := range append(left, m.holders()...) {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("log of %q:\n%s", m.cmd.Args, m.log)
		}
	}()
	if t.Failed() || m.Killed {
		return
	}
	if m.Ended() {
		if code := m.WaitExit(t); code != m.WantCode {
			t.Errorf("the master exited with %d, want %d", code, m.WantCode)
		}
	} else {
		if m.StopSignal == syscall.SIGTERM {
			m.WaitIdle(t)
		}
		m.Stop(t)
	}
	m.ResumeLog()
	if m.Terminal == nil {
		m.WaitLogEnd(t)
	}
	m.check()
}

// check judges the whole log of a master that has ended.
func (m *Master) check() {
	t := m.t
	t.Helper()
	if !m.LossyLog && m.WantCode >= 0 {
		if open := m.unaccounted(); len(open) > 0 {
			t.Errorf("connections %v have no end", open)
		}
		for conn, n := range m.ends() {
			if n != 1 {
				t.Errorf("connection %s ended %d times", conn, n)
			}
		}
	}
	m.checkTotals()
	for _, line := range m.log.malformed {
		t.Errorf("malformed line in the log: %s", line)
	}
	for _, e := range m.Events(func(e Event) bool { return e.Msg == "" }) {
		// The master's own crash shows in its exit code as well.
		if isCrash(e.Line) && !m.WorkersCrash || strings.HasPrefix(e.Line, "WARNING: DATA RACE") {
			t.Errorf("stderr has %q", e.Line)
		}
	}
}

// checkTotals holds the counts of the last event to the events and to each
// other.
func (m *Master) checkTotals() {
	t := m.t
	t.Helper()
	for _, e := range m.Events(Is(Stopped)) {
		var counts struct{ Accepted, Refused, Failed, Reaped int }
		if err := json.Unmarshal([]byte(e.Line[strings.IndexByte(e.Line, '{'):]), &counts); err != nil {
			t.Errorf("counts of %s: %v", e.Line, err)
		}
		if counts.Accepted != counts.Refused+counts.Failed+counts.Reaped {
			t.Errorf("the counts do not add up: %s", e.Line)
		}
		// Of spares there are events without a connection.
		reaped := len(m.Events(func(e Event) bool { return e.Conn != "" && (e.Msg == Reaped || e.Msg == Ended) }))
		failed := len(m.Events(func(e Event) bool { return e.Conn != "" && e.Msg == SpawnFailed }))
		if !m.LossyLog && (counts.Reaped != reaped || counts.Failed != failed) {
			t.Errorf("%d events of reaped and %d of failed spawns: %s", reaped, failed, e.Line)
		}
	}
}

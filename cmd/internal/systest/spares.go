package systest

import (
	"fmt"
	"syscall"
	"testing"
)

// WaitSpares waits until n spares wait for a connection, by the master's own
// account, and it has no other spare, and returns their pids.
func (m *Master) WaitSpares(t testing.TB, n int) []int {
	t.Helper()
	status := func(e Event) bool { return e.Msg == "status" && e.Spares != nil }
	var last Event
	Until(t, fmt.Sprintf("%d spares", n), func() bool {
		before := len(m.Events(status))
		m.Signal(t, syscall.SIGUSR1)
		last = m.Wait(t, before+1, status)[before]
		return *last.Spares == n && len(m.SparePIDs()) == n
	}, func() string { return fmt.Sprintf("%s\n%+v", last.Line, Children(m.PID)) })
	return m.SparePIDs()
}

// SparePIDs returns the children of the master that no event of a connection
// has named so far.
func (m *Master) SparePIDs() []int {
	busy := map[int]bool{}
	for _, e := range m.Events(func(e Event) bool { return e.Msg == Accepted || e.Conn != "" && e.PID > 0 }) {
		busy[e.PID] = true
	}
	for _, e := range m.Events(Is(Ended)) {
		delete(busy, e.PID)
	}
	var pids []int
	for _, p := range Children(m.PID) {
		if p.State != 'Z' && !busy[p.PID] {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

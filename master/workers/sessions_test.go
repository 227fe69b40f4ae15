package workers

import "testing"

func TestSessions(t *testing.T) {
	var s sessions
	for _, pid := range []int{1, 63, 64, 4711, 4194303} {
		if s.has(pid) {
			t.Errorf("%d is there before it was added", pid)
		}
		s.remove(pid) // of what is not there
		s.add(pid)
		s.add(pid)
		if !s.has(pid) || s.has(pid+1) || s.has(pid-1) {
			t.Errorf("%d: %v, its neighbours: %v and %v", pid, s.has(pid), s.has(pid+1), s.has(pid-1))
		}
		s.remove(pid)
		if s.has(pid) {
			t.Errorf("%d is there after it was removed", pid)
		}
	}
	s.add(7)
	for _, pid := range []int{0, -1, 1 << 30} {
		if s.has(pid) {
			t.Errorf("%d is there", pid)
		}
	}
}

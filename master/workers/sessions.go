package workers

// sessions is which numbers the workers had. Every worker leads a session of its
// own, and the number of the session stays taken while anybody is left in it. So
// a process whose session is among these numbers belongs to a worker, even when
// that worker was reaped long ago.
//
// It is a set of bits: pids are small numbers (pid_max in proc_sys_kernel(5), at
// most 4,194,304). The loop owns it.
type sessions struct{ bits []uint64 }

// add notes that a worker has a number.
func (s *sessions) add(pid int) {
	word, bit := pid/64, uint(pid%64)
	if word >= len(s.bits) {
		s.bits = append(s.bits, make([]uint64, word+1-len(s.bits))...)
	}
	s.bits[word] |= 1 << bit
}

// remove notes that a child that was no worker had a number. So the session of
// the worker that had it before is empty.
func (s *sessions) remove(pid int) {
	if word := pid / 64; word < len(s.bits) {
		s.bits[word] &^= 1 << uint(pid%64)
	}
}

func (s *sessions) has(pid int) bool {
	word := pid / 64
	return pid > 0 && word < len(s.bits) && s.bits[word]&(1<<uint(pid%64)) != 0
}

package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	shrinkLimit  = 3 * time.Second // for one call
	shrinkStable = 100             // looks of settleLook without a change
	shrinkVain   = 3               // calls that wait for all these looks and see none end; then no more
)

// Shrink returns a function that a load calls while it closes its connections
// bit by bit, with the number that is still open: before the first is closed
// and after each bit. It returns when the server has ended the processes of
// those that are closed, so that they do not all end in the same instant.
//
// It waits without regard to any context: an interrupted run, too, must not
// end thousands of processes at once. A server that keeps its processes, or
// does nothing any more, is waited for a second at a time, and after a few
// times in vain not again before one of its processes has ended.
func (t *Tree) Shrink() func(open int) {
	var (
		pids  []int // of the server and of what came of it, as far as alive
		kept  int   // how many of them are for no connection
		extra int   // and how many are
		from  int   // connections that those are for
		vain  int   // waits in vain since the last process has ended
	)
	return func(open int) {
		if from == 0 {
			processes, err := readTable()
			if err != nil {
				return
			}
			pids, from = t.family(processes), open
			kept = min(1+t.baseline, len(pids))
			extra = len(pids) - kept
			return
		}
		// Some servers have two processes for a connection.
		allowed := kept + (extra*open+from-1)/from
		stable := 0
		for deadline := time.Now().Add(shrinkLimit); time.Now().Before(deadline); time.Sleep(settleLook) {
			t.children.reap()
			before := len(pids)
			pids = living(pids)
			if len(pids) != before {
				stable, vain = 0, 0
			}
			if len(pids) <= allowed || vain >= shrinkVain {
				return
			}
			if stable++; stable > shrinkStable {
				vain++
				return
			}
		}
	}
}

// living returns those of pids that exist, in the same memory. To ask the
// kernel for each is far cheaper than to read the whole process table. A
// pid that was given to another process counts as living; then the wait is as
// long as for a server that keeps its processes.
func living(pids []int) []int {
	left := pids[:0]
	for _, pid := range pids {
		if unix.Kill(pid, 0) != unix.ESRCH {
			left = append(left, pid)
		}
	}
	return left
}

package workers

import (
	"slices"

	"github.com/preforkd/preforkd/master/process"
)

// A table holds the workers by pid. The loop owns it.
//
// Workers are started off the loop, so that the loop does not wait for the start
// of a program. A child can therefore end and be reaped before the loop has
// heard of it, and the table keeps the exits of pids that it does not know for
// as long as a start is under way that one of them may belong to.
//
// This helps against programs that are slow to load, not against a file system
// that hangs: Go keeps the processor of a thread in vfork, so an exec that does
// not return stops everything at the next garbage collection, and at once when
// there are as many of them as GOMAXPROCS.
type table struct {
	workers map[int]*Worker

	// earlyExits holds the exits of unknown pids, oldest first. It is empty
	// whenever no start is under way. A pid has more than one exit there only
	// if the kernel has used all other pids within one start; then which worker
	// gets which exit is a guess, but none is lost.
	earlyExits []process.Exit
}

// maxEarlyExits bounds the exits of unknown pids. As pid 1 of a container the
// master reaps any number of children that are not its workers, while a single
// start may take its time. The exits of workers among them are as few as there
// are starts.
const maxEarlyExits = 1024

func newTable() *table { return &table{workers: make(map[int]*Worker)} }

// started registers a worker. If it has ended already, started returns its exit
// instead, and the worker is not in the table.
//
// The pid alone does not prove that an early exit is this worker's: another
// child may have had the same pid just before. So reaped is asked whether this
// very process is gone.
func (t *table) started(w *Worker, pid int, reaped func() bool) (process.Exit, bool) {
	for i := len(t.earlyExits) - 1; i >= 0; i-- {
		exit := t.earlyExits[i]
		if exit.Pid == pid && reaped() {
			t.earlyExits = slices.Delete(t.earlyExits, i, i+1)
			return exit, true
		}
	}
	t.workers[pid] = w
	return process.Exit{}, false
}

// exited takes the worker that an exit belongs to out of the table. It returns
// nil for a pid that is not registered, and remembers that exit.
func (t *table) exited(exit process.Exit) *Worker {
	w, ok := t.workers[exit.Pid]
	if ok {
		delete(t.workers, exit.Pid)
		return w
	}
	t.earlyExits = append(t.earlyExits, exit)
	return nil
}

// dropEarlyExits forgets the exits that belong to no worker, and returns them:
// the children of failed execs, and children that the master has not started.
// Those are all of them when no start is under way, and otherwise the oldest
// ones beyond maxEarlyExits.
func (t *table) dropEarlyExits(starting bool) []process.Exit {
	n := len(t.earlyExits)
	if starting {
		n = max(0, n-maxEarlyExits)
	}
	unknown := slices.Clone(t.earlyExits[:n])
	t.earlyExits = slices.Delete(t.earlyExits, 0, n)
	return unknown
}

func (t *table) has(pid int) bool { _, ok := t.workers[pid]; return ok }

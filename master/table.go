package master

import (
	"slices"

	"github.com/preforkd/preforkd/master/process"
)

// A table holds the workers by pid. It is owned by the master's loop.
//
// Spawning happens elsewhere, so that the loop does not wait for the start of a
// program, and a child can end and be reaped before the loop has heard of it.
// That is good for programs that are slow to load, not for a file system that
// stands still: Go keeps the processor of a thread in vfork, so an exec that
// does not return stops everything at the next garbage collection, and at once
// when there are as many as GOMAXPROCS. The table therefore keeps the exits of pids that it does not
// know for as long as a spawn is under way that one of them may belong to.
type table struct {
	workers map[int]*worker

	// early holds the exits of unknown pids, oldest first. It is empty
	// whenever no spawn is under way. A pid has more than one exit only if
	// all numbers came round within one spawn; then which worker gets which
	// is a guess, but none is lost.
	early []process.Exit
}

// maxEarly bounds the exits of unknown pids. As pid 1 of a container the master
// reaps strangers, any number of them, while a single spawn may take its time;
// the exits of workers among them are as few as there are spawns.
const maxEarly = 1024

func newTable() *table { return &table{workers: make(map[int]*worker)} }

// started registers a worker. When it has ended already, started returns its
// exit instead and the worker is not in the table.
//
// The pid alone does not prove that an early exit is this worker's: a stranger
// may have had the same one just before. So reaped is asked whether this very
// process is gone.
func (t *table) started(w *worker, pid int, reaped func() bool) (process.Exit, bool) {
	for i := len(t.early) - 1; i >= 0; i-- {
		exit := t.early[i]
		if exit.Pid == pid && reaped() {
			t.early = slices.Delete(t.early, i, i+1)
			return exit, true
		}
	}
	t.workers[pid] = w
	return process.Exit{}, false
}

// exited takes the worker that an exit belongs to out of the table. It returns
// nil for a pid that is not registered; that exit is remembered for as long as
// a spawn is under way.
func (t *table) exited(exit process.Exit) *worker {
	w, ok := t.workers[exit.Pid]
	if ok {
		delete(t.workers, exit.Pid)
		return w
	}
	t.early = append(t.early, exit)
	return nil
}

// settle forgets the exits that no worker can come for any more, and returns
// them: the children of failed execs, and strangers. Those are all when no
// spawn is under way, and otherwise the oldest beyond maxEarly.
func (t *table) settle(spawning bool) []process.Exit {
	n := len(t.early)
	if spawning {
		n = max(0, n-maxEarly)
	}
	strangers := slices.Clone(t.early[:n])
	t.early = slices.Delete(t.early, 0, n)
	return strangers
}

func (t *table) has(pid int) bool { _, ok := t.workers[pid]; return ok }

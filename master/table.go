package master

import "github.com/preforkd/preforkd/master/process"

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
	early map[int][]process.Exit
}

func newTable() *table {
	return &table{workers: make(map[int]*worker), early: make(map[int][]process.Exit)}
}

// started registers a worker. When it has ended already, started returns its
// exit instead and the worker is not in the table.
//
// The pid alone does not prove that an early exit is this worker's: a stranger
// may have had the same one just before. So reaped is asked whether this very
// process is gone.
func (t *table) started(w *worker, pid int, reaped func() bool) (process.Exit, bool) {
	if exits := t.early[pid]; len(exits) > 0 && reaped() {
		last := len(exits) - 1
		t.early[pid] = exits[:last]
		return exits[last], true
	}
	t.workers[pid] = w
	return process.Exit{}, false
}

// exited takes the worker that an exit belongs to out of the table. It returns
// nil for a pid that is not registered; that exit is remembered if a spawn is
// under way and forgotten otherwise.
func (t *table) exited(exit process.Exit, spawning bool) *worker {
	w, ok := t.workers[exit.Pid]
	if ok {
		delete(t.workers, exit.Pid)
		return w
	}
	if spawning {
		t.early[exit.Pid] = append(t.early[exit.Pid], exit)
	}
	return nil
}

// settled forgets the exits that no worker came for. It is called when no
// spawn is under way, and returns what it forgot: the children of failed
// execs, and strangers.
func (t *table) settled() []process.Exit {
	if len(t.early) == 0 {
		return nil
	}
	var strangers []process.Exit
	for _, exits := range t.early {
		strangers = append(strangers, exits...)
	}
	clear(t.early)
	return strangers
}

func (t *table) has(pid int) bool { _, ok := t.workers[pid]; return ok }

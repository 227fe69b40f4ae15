package proc

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

const (
	settleTimeout = 3 * time.Second
	settleLook    = 10 * time.Millisecond
	settleStable  = 6  // looks without a change
	settleIdle    = 20 // at rest, it works less than this part of the time
)

// A Tree is the processes of a running server: its master and what came of it.
type Tree struct {
	children *Children
	pid      int // of the master
	baseline int // processes besides the master when it had just started
}

// Watch returns the tree of a server that was not started here, by the pid of
// its master. The server is at rest.
func (c *Children) Watch(ctx context.Context, pid int) *Tree {
	t := &Tree{children: c, pid: pid}
	t.rest(ctx)
	return t
}

// PID returns the pid of the server's master.
func (t *Tree) PID() int { return t.pid }

// Threads returns how many threads the server's master has.
func (t *Tree) Threads() (int, error) {
	p, err := procfs.NewProc(t.pid)
	if err != nil {
		return 0, fmt.Errorf("count threads: %w", err)
	}
	s, err := p.Stat()
	if err != nil {
		return 0, fmt.Errorf("count threads: %w", err)
	}
	return s.NumThreads, nil
}

// Stopped reports whether the server's master is stopped by a signal.
func (t *Tree) Stopped() (bool, error) {
	p, err := procfs.NewProc(t.pid)
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	s, err := p.Stat()
	return s.State == "T", err
}

// Workers returns how many living processes the server has besides its master,
// and how many it had when it had just started.
func (t *Tree) Workers() (now, atStart int, err error) {
	processes, err := readTable()
	if err != nil {
		return 0, 0, err
	}
	return len(t.family(processes)) - 1, t.baseline, nil
}

// rest waits until the server has started, and remembers how it looks then.
func (t *Tree) rest(ctx context.Context) {
	t.Settle(ctx, 0)
	if processes, err := readTable(); err == nil {
		t.baseline = len(t.family(processes)) - 1
	}
}

// family returns the living processes of the server: the master, its
// descendants, and the orphans that came to this process. Only one server is
// measured at a time, so an orphan can only be its.
func (t *Tree) family(processes table) []int {
	found := []int{}
	if _, alive := processes[t.pid]; alive {
		found = append(found, t.pid)
	}
	found = append(found, processes.descendants(t.pid)...)
	t.children.mu.Lock()
	orphans := t.children.orphans(processes)
	t.children.mu.Unlock()
	for _, pid := range orphans {
		if !processes[pid].zombie {
			found = append(found, pid)
			found = append(found, processes.descendants(pid)...)
		}
	}
	return found
}

// Settle waits until the server is at rest with live connections open: it has
// nothing left to do, and no more processes than when it started and one for
// each connection, or, for servers that keep a pool, as many as before for a
// while. It gives up after three seconds and lets the measurement show what it
// is.
func (t *Tree) Settle(ctx context.Context, live int) {
	stable, count := 0, -1
	var used time.Duration
	var looked time.Time
	for deadline := time.Now().Add(settleTimeout); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(settleLook) {
		t.children.reap()
		processes, err := readTable()
		if err != nil {
			return
		}
		family := t.family(processes)
		before, usedBefore, lookedBefore := count, used, looked
		count, used, looked = len(family)-1, clocks(family), time.Now()
		// A master whose workers are gone may still be at its books. The sum
		// falls when a process has ended.
		worked := used - usedBefore
		if before < 0 || worked < 0 || worked*settleIdle > looked.Sub(lookedBefore) {
			stable = 0
			continue
		}
		if count <= t.baseline+live {
			return
		}
		if count != before {
			stable = 0
		}
		if stable++; stable > settleStable {
			return
		}
	}
}

// clocks returns the CPU time that some processes have used themselves.
func clocks(pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		sum += clock(pid)
	}
	return sum
}

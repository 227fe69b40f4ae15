package workers

import (
	"slices"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/backoff"
	"github.com/preforkd/preforkd/master/service"
)

// A Pool holds the spares of one service.Spec: workers that were started ahead of
// their connections. The dispatcher takes from it, the loop puts into it, and
// one goroutine keeps it filled, off the path of any connection.
//
// No spare is started while there are max of them, ready, starting and leaving
// together, so that there are never more processes than slots and spares. A
// worker that comes back from a connection may be one too many: it was a process
// before, and no other is started while it waits. It stays for surplusAfter,
// because the connections that it was needed for tend to come again.
//
// A pool's lock is taken before the lock of a worker, and that before the lock
// of a channel.
type Pool struct {
	spec     *service.Spec
	min, max int
	wake     chan struct{} // of the goroutine that fills the pool; holds one; nil if the Spec has no spares

	mu           sync.Mutex       // guards what follows
	idle         []*Worker        // ready, the longest waiting first
	starting     int              // started or about to be, and not ready
	leaving      map[*Worker]bool // retiring or broken, without a connection, and not reaped yet
	target       int              // how many spares there should be, from min to max
	lastAssigned time.Time        // when a connection was last given to a spare
	lastMiss     time.Time        // when a connection last found the pool empty
	failures     backoff.Backoff  // of spares that died before they were of use
	backoffUntil time.Time        // no new spare before this
	closed       bool             // no spare is wanted any more
}

// NewPool returns an empty pool for the spares of a Spec.
func NewPool(spec *service.Spec) *Pool {
	p := &Pool{spec: spec, min: spec.MinSpares, max: spec.MaxSpares, target: spec.MinSpares}
	if p.max > 0 {
		p.wake = make(chan struct{}, 1)
	}
	return p
}

// Spec returns what the spares of the pool are started by.
func (p *Pool) Spec() *service.Spec { return p.spec }

// Wake returns a channel that has something when the pool may want a spare, or
// was closed.
func (p *Pool) Wake() <-chan struct{} { return p.wake }

// refillDelay is how long a connection that was given to a spare has the
// processors for itself before the next spare is started, while at least half of
// the spares are left. Starting a program takes as much of them as a short
// connection does altogether, or more, and nobody needs the next spare yet.
const refillDelay = time.Millisecond

// ReserveStart takes the right to start one spare. Otherwise it returns how long
// to wait before the next attempt makes sense, or 0 for until Wake says so.
func (p *Pool) ReserveStart(now time.Time) (start bool, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle)+p.starting >= p.target || len(p.idle)+p.starting+len(p.leaving) >= p.max {
		return false, 0
	}
	if wait = p.backoffUntil.Sub(now); wait > 0 {
		return false, wait
	}
	if wait = refillDelay - now.Sub(p.lastAssigned); wait > 0 && 2*len(p.idle) >= p.target {
		return false, wait
	}
	p.starting++
	return true, 0
}

// Failed notes that a spare could not be started, or has ended before it was
// ready or while it was waiting. The next one is started after a pause.
func (p *Pool) Failed(now time.Time, wasStarting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed(now, wasStarting)
}

// failed is Failed for a caller who holds the lock.
func (p *Pool) failed(now time.Time, wasStarting bool) {
	if wasStarting {
		p.starting--
	}
	p.backoffUntil = now.Add(p.failures.Next())
	p.notify()
}

const (
	// shrinkAfter is how long a pool must not have been found empty before it
	// wants fewer spares, and how long a spare must have waited before it is one
	// too many.
	shrinkAfter = 10 * time.Second
	// surplusAfter is how long a worker that came back from a connection must
	// have waited before it goes, if there are more than max.
	surplusAfter = 2 * time.Second
)

// Shrink lowers the target towards min while no connection misses a spare, and
// tells spares to go that are too many. Those beyond max go together: no other
// process is started in their place. It is called about once a second.
func (p *Pool) Shrink(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target > p.min && now.Sub(p.lastMiss) >= shrinkAfter {
		p.target = max(p.min, p.target-max(1, p.target/4))
		p.lastMiss = now
	}
	for len(p.idle) > p.max && now.Sub(p.idle[0].stateSince()) >= surplusAfter {
		p.retireOldest(now)
	}
	for len(p.idle) > 0 && len(p.idle)+p.starting > p.target &&
		now.Sub(p.idle[0].stateSince()) >= shrinkAfter && len(p.leaving) < p.max {
		p.retireOldest(now)
	}
}

// stateSince returns since when the worker is in its state.
func (w *Worker) stateSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since
}

// Close tells every spare to go, and lets none come back.
func (p *Pool) Close(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for len(p.idle) > 0 {
		p.retireOldest(now)
	}
	p.notify()
}

// Closed reports whether Close was called.
func (p *Pool) Closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Counts returns how many spares are ready and how many are starting.
func (p *Pool) Counts() (ready, starting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.starting
}

// Failing reports whether spares were started that were of no use, and none
// that was since.
func (p *Pool) Failing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures.Failing()
}

// retireOldest tells the longest idle spare to go. The lock is held.
func (p *Pool) retireOldest(now time.Time) {
	w := p.idle[0]
	p.idle[0] = nil
	p.idle = p.idle[1:]
	p.retire(w, now)
}

// retire tells a worker that waits to go. The lock is held.
func (p *Pool) retire(w *Worker, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(Retiring, now)
	w.channel.Close()
	p.markLeaving(w)
}

// markLeaving notes that a worker is on its way out. If it has a connection,
// that connection's slot stands for it. Both locks are held.
func (p *Pool) markLeaving(w *Worker) {
	if w.conn == nil {
		p.noteLeaving(w)
	}
}

// noteLeaving counts a worker among those that leave. The lock is held.
func (p *Pool) noteLeaving(w *Worker) {
	if p.leaving == nil {
		p.leaving = map[*Worker]bool{}
	}
	p.leaving[w] = true
}

// remove takes a worker out of the idle ones, if it is there. The lock is held.
func (p *Pool) remove(w *Worker) {
	if i := slices.Index(p.idle, w); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
}

func (p *Pool) notify() {
	select {
	case p.wake <- struct{}{}:
	default: // it has been told already
	}
}

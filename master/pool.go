package master

import (
	"sync"
	"time"

	"github.com/preforkd/preforkd/ipc"
)

// A pool holds the spares of one service: workers started ahead of their
// connections. Accept goroutines take from it, the loop puts into it, and one
// goroutine keeps it filled, off the path of any connection.
//
// No spare is started while there are most of them, ready, starting and leaving
// together, so that with the slots there are never more processes than slots
// and spares. A worker that comes back from a connection may be one too many:
// it was a process before, and no other is started while it waits. It stays for
// a while, because the connections that it was needed for tend to come again.
type pool struct {
	least, most int
	wake        chan struct{} // of the goroutine that fills the pool; holds one

	// mu guards what follows and the marked part of every worker.
	mu       sync.Mutex
	idle     []*worker // ready, the longest waiting first
	starting int       // started or about to be, and not ready
	leaving  int       // retiring or broken, without a connection, and not reaped yet
	target   int       // how many spares there should be, from least to most
	given    time.Time // when a connection was last given to a spare
	missed   time.Time // when a connection last found the pool empty
	failures backoff   // of spares that died before they were of use
	notUntil time.Time // no new spare before this
	closed   bool      // the service stops
}

func newPool(least, most int) *pool {
	return &pool{least: least, most: most, target: least, wake: make(chan struct{}, 1)}
}

// handOver gives a connection to a spare and returns it, or nil when there is
// none. The master keeps its copy of the descriptor until the spare has
// answered. A spare that turns out to be gone is passed over.
//
// The longest idle spare is at the front and the last to be used is at the end.
// The end is taken: its memory is warm, and the front may retire in peace.
func (p *pool) handOver(c *connection, now time.Time) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		w := p.idle[last]
		message, err := c.assignment(w.served+1 < c.service.ConnectionsPerWorker, true)
		if err != nil {
			return nil // too large for any worker: the spawn will say so
		}
		p.idle[last] = nil
		p.idle = p.idle[:last]
		err = ipc.SendConnection(w.child.Control, message, int(c.file.Fd()))
		if err == nil {
			w.conn = c
			w.served++
			w.stderr.serves(c.id)
			w.enter(assigned, now)
			p.given = now
			// Before the lock is free the loop cannot look at what the worker
			// says, so in the log the end comes after the beginning.
			c.logAccepted(w.child)
			p.wakeUp()
			return w
		}
		// It is dead or dying, or has stopped reading. Its exit is heard of
		// elsewhere; a live one is ended by the sweep.
		w.enter(broken, now)
		p.leave(w)
	}
	if p.most > 0 {
		p.missed = now
		p.target = min(p.most, max(2*p.target, 1))
		p.wakeUp()
	}
	return nil
}

// put adds a spare that says it is ready, unless the pool has closed meanwhile
// and it has to retire.
func (p *pool) put(w *worker, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	if p.closed {
		p.retire(w, now)
		return
	}
	w.enter(idle, now)
	p.idle = append(p.idle, w)
}

// comeBack adds a worker that has served a connection and is ready for the
// next. It reports false when the pool has closed meanwhile: the worker then
// retires and keeps its connection until it has been reaped.
func (p *pool) comeBack(w *worker, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.retire(w, now)
		return false
	}
	w.conn = nil
	w.enter(idle, now)
	p.idle = append(p.idle, w)
	return true
}

// processes is how many processes there are that have no slot. The lock is held.
func (p *pool) processes() int { return len(p.idle) + p.starting + p.leaving }

// leave notes that a worker is on its way out. If it has a connection, that
// one's slot stands for it. The lock is held.
func (p *pool) leave(w *worker) {
	if w.conn == nil && !w.leaving {
		w.leaving = true
		p.leaving++
	}
}

// left notes that a worker has been reaped. The lock is held.
func (p *pool) left(w *worker) {
	if w.leaving {
		w.leaving = false
		p.leaving--
		p.wakeUp()
	}
}

// respite is how long a connection that has been given to a spare has the
// processors for itself before the next spare is started, while at least half
// of the spares are left. Starting a program takes as much of them as a short
// connection does altogether, or more, and nobody is in need of it yet.
const respite = time.Millisecond

// begin takes the right to start one spare. Otherwise it returns how long to
// wait before the next attempt makes sense, or 0 for until the pool says so.
func (p *pool) begin(now time.Time) (start bool, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle)+p.starting >= p.target || p.processes() >= p.most {
		return false, 0
	}
	if wait = p.notUntil.Sub(now); wait > 0 {
		return false, wait
	}
	if wait = respite - now.Sub(p.given); wait > 0 && 2*len(p.idle) >= p.target {
		return false, wait
	}
	p.starting++
	return true, 0
}

// failed takes into account that a spare could not be started, or that one
// ended before it was ready or while it was waiting. The next one waits.
func (p *pool) failed(now time.Time, wasStarting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail(now, wasStarting)
}

// fail is failed for a caller who holds the lock.
func (p *pool) fail(now time.Time, wasStarting bool) {
	if wasStarting {
		p.starting--
	}
	p.notUntil = now.Add(p.failures.next())
	p.wakeUp()
}

// taken notes that a spare has its connection: the master's copy of it closes,
// and spares are known to work. It returns how long that took from the
// assignment.
func (p *pool) taken(w *worker, now time.Time) (after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.conn.file.Close()
	after = now.Sub(w.since)
	w.enter(serving, now)
	p.failures.reset()
	p.notUntil = time.Time{}
	return after
}

// calm is how long a pool must not have been found empty before it wants fewer
// spares, and how long a spare must have waited before it is one too many.
const calm = 10 * time.Second

// shrink lets the target sink towards least while no connection misses a
// spare, and retires what is too many. It is called now and then.
func (p *pool) shrink(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target > p.least && now.Sub(p.missed) >= calm {
		p.target = max(p.least, p.target-max(1, p.target/4))
		p.missed = now
	}
	for len(p.idle) > 0 && len(p.idle)+p.starting > p.target &&
		now.Sub(p.idle[0].since) >= calm && p.leaving < p.most {
		p.retireFirst(now)
	}
}

// close retires every spare, and lets none come back.
func (p *pool) close(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for len(p.idle) > 0 {
		p.retireFirst(now)
	}
	p.wakeUp()
}

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// retireFirst tells the longest idle spare to go. The lock is held.
func (p *pool) retireFirst(now time.Time) {
	w := p.idle[0]
	p.idle[0] = nil
	p.idle = p.idle[1:]
	p.retire(w, now)
}

// retire tells a worker that waits to go. The lock is held.
func (p *pool) retire(w *worker, now time.Time) {
	w.enter(retiring, now)
	w.closeControl()
	p.leave(w)
}

// remove takes a worker out of the idle ones, if it is there. The lock is held.
func (p *pool) remove(w *worker) {
	for i, other := range p.idle {
		if other == w {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}

func (p *pool) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default: // it has been told already
	}
}

// counts returns how many spares are ready and how many are starting.
func (p *pool) counts() (ready, starting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle), p.starting
}

// isFailing reports whether spares were started that were of no use, and none
// since that was.
func (p *pool) isFailing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures.delay > 0
}

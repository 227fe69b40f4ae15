package workers

import (
	"time"

	"github.com/preforkd/preforkd/master/service"
)

// How a connection goes over to a spare, and comes back from a worker:
//
//	Assign   a spare is sent the connection     Idle      -> Assigned
//	Confirm  the spare has acknowledged it      Assigned  -> Serving
//	GiveBack it is ready for the next one       Serving   -> Idle
//
// and what becomes of a worker that leaves: ChannelClosed, MarkBroken, and at
// last MarkReaped.

// Assign gives a connection to a spare and returns it, or nil when there is none.
// The master keeps its copy of the descriptor until Confirm at least. A spare that
// turns out to be gone is passed over.
//
// The spare that was used last is taken: its memory is warm, and the one that
// waits longest may retire.
func (p *Pool) Assign(c *service.Connection, now time.Time) *Worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		w := p.idle[last]
		message, err := c.Assignment(w.served+1 < c.Spec.ConnectionsPerWorker, true)
		if err != nil {
			return nil // too large for any worker: the spawn will say so
		}
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if w.assign(c, message, now) {
			p.lastAssigned = now
			p.notify()
			return w
		}
		// It is dead or dying, or has stopped reading. The reaper hears of its
		// exit; a live one is ended when it has been broken for too long.
		p.noteLeaving(w)
	}
	if p.max > 0 {
		p.lastMiss = now
		p.target = min(p.max, max(2*p.target, 1))
		p.notify()
	}
	return nil
}

// assign sends a spare its connection. It reports whether the spare may have it.
func (w *Worker) assign(c *service.Connection, message []byte, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cell := w.child.Cell; cell != nil {
		cell.Serves(c.File)
	}
	if err := w.channel.sendConnection(message, int(c.File.Fd())); err != nil {
		w.enter(Broken, now)
		return false
	}
	w.conn, w.holdsCopy = c, true
	w.served++
	w.stderr.Serves(c.ID)
	w.enter(Assigned, now)
	// The loop looks at what the worker says only after w.mu is free, so in
	// the log the end comes after the beginning.
	c.LogAccepted(w.PID())
	return true
}

// Add adds a spare that says it is ready. If the pool has closed meanwhile the
// spare is told to go.
func (p *Pool) Add(w *Worker, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	p.addOrRetire(w, now)
}

// GiveBack adds a worker that has served a connection and is ready for the next
// one. It returns that connection. If the pool has closed meanwhile it returns
// nil: the worker is told to go, and keeps its connection until it is reaped.
func (p *Pool) GiveBack(w *Worker, now time.Time) *service.Connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.retire(w, now)
		return nil
	}
	w.mu.Lock()
	c := w.conn
	w.conn = nil
	w.mu.Unlock()
	p.addOrRetire(w, now)
	return c
}

func (p *Pool) addOrRetire(w *Worker, now time.Time) {
	if p.closed {
		p.retire(w, now)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(Idle, now)
	p.idle = append(p.idle, w)
}

// Confirm notes that a spare has acknowledged its connection: the master's copy
// of the descriptor is closed, unless the connection keeps it to its end, and
// spares are known to work. It returns how long that took from the assignment.
func (p *Pool) Confirm(w *Worker, now time.Time) (took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settleCopy()
	took = now.Sub(w.since)
	w.enter(Serving, now)
	p.failures.Reset()
	p.backoffUntil = time.Time{}
	return took
}

// MarkReaped takes a worker out that was reaped. It returns the state in which
// the worker ended and the connection that it had, whose account is the caller's
// to close. The channel is closed.
func (p *Pool) MarkReaped(w *Worker) (State, *service.Connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(w)
	if p.leaving[w] {
		delete(p.leaving, w)
		p.notify()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.conn
	w.conn = nil
	w.channel.Close()
	return w.state, c
}

// ChannelClosed notes that a worker has closed its control channel. A program that
// a spare has executed holds none, and a worker that is about to exit has none any
// more. But one that waits for a connection can no longer be given any, and one
// that is being given one will not acknowledge it (TimeoutSignal).
func (p *Pool) ChannelClosed(w *Worker, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state {
	case Idle:
		p.remove(w)
		w.enter(Broken, now)
		p.noteLeaving(w)
	case Assigned:
		if w.hungUpAt.IsZero() {
			w.hungUpAt = now
		}
	}
}

// MarkBroken notes that a worker has to be ended because it broke the contract.
func (p *Pool) MarkBroken(w *Worker, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil && w.state != Retiring {
		p.failed(now, w.state == Starting)
	}
	w.enter(Broken, now)
	p.markLeaving(w)
}

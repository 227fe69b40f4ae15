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
		p.leaving[w] = true
	}
	if p.max > 0 {
		p.lastMiss = now
		p.target = min(p.max, max(2*p.target, 1))
		p.notify()
	}
	return nil
}

func (w *Worker) assign(c *service.Connection, message []byte, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.channel.sendConnection(message, int(c.File.Fd())); err != nil {
		w.enter(Broken, now)
		return false
	}
	w.conn = c
	w.served++
	w.stderr.Serves(c.ID)
	w.enter(Assigned, now)
	// The loop looks at what the worker says only after w.mu is free, so in
	// the log the end comes after the beginning.
	c.LogAccepted(w.PID())
	return true
}

func (p *Pool) Add(w *Worker, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	p.addOrRetire(w, now)
}

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

func (p *Pool) Confirm(w *Worker, now time.Time) (took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.File.Close()
	took = now.Sub(w.since)
	w.enter(Serving, now)
	p.failures.Reset()
	p.backoffUntil = time.Time{}
	return took
}

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

func (p *Pool) ChannelClosed(w *Worker, now time.Time) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.state
	if was == Idle {
		p.remove(w)
		w.enter(Broken, now)
		p.leaving[w] = true
	}
	return was
}

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

package master

import (
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
)

// hear takes in all that a worker has said so far: of a watched one when its
// channel has something, of every one when it has been reaped.
//
// A worker is not to be trusted, and what it started may hold its channel too.
// Each state allows one or two messages, and the first one out of place ends
// the worker, so nobody keeps the loop busy.
func (m *Master) hear(w *worker) {
	for w.child.Control >= 0 && w.breach == nil {
		t, body, err := ipc.Receive(w.child.Control, m.message[:], unix.MSG_DONTWAIT)
		switch err {
		case unix.EAGAIN:
			return
		case unix.ECONNRESET:
			// The worker ended with its assignment unread. The socket says so
			// first and once; what was sent before that comes after it.
			continue
		case io.EOF:
			m.hungUp(w)
			return
		case nil:
			err = m.heard(w, t, body)
		}
		if err != nil {
			m.breach(w, fmt.Errorf("control channel: %w", err))
		}
	}
}

// heard takes in one message. An error means that the contract does not allow
// it where the worker stands.
func (m *Master) heard(w *worker, t ipc.Type, body []byte) error {
	now := time.Now()
	state := w.stateNow()
	switch {
	case t == ipc.TypeReady && state == starting:
		w.service.pool.put(w, now)
		return nil
	case t == ipc.TypeReady && state == serving && w.report != nil && w.reusable():
		m.moveOn(w, now)
		w.service.pool.put(w, now)
		return nil
	case t == ipc.TypeTaken && state == assigned:
		w.service.pool.taken(w, now)
		return nil
	case t == ipc.TypeReport && state == serving && w.report == nil:
		report, err := ipc.DecodeReport(body)
		if err != nil {
			return err
		}
		w.report = &report
		return nil
	}
	return fmt.Errorf("unexpected %v from a worker that is %v", t, state)
}

// hungUp takes in that a worker has closed its channel. A program that a spare
// has become holds none, and a worker that is about to exit has none any more;
// but one that waits for a connection can no longer be given any.
func (m *Master) hungUp(w *worker) {
	p := w.service.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.state == idle {
		p.remove(w)
		w.enter(broken, time.Now())
	}
}

// breach ends a worker that broke the contract. Its connection ends with it.
func (m *Master) breach(w *worker, err error) {
	w.breach = err
	p := w.service.pool
	p.mu.Lock()
	p.remove(w)
	if w.state == starting {
		p.starting--
	}
	w.enter(broken, time.Now())
	p.mu.Unlock()
	if m.table.has(w.child.Pid) {
		w.service.log.Warn("contract broken", logging.PID(w.child.Pid), logging.Error(err))
		m.signalGroup(w.child.Pid, unix.SIGKILL)
	}
}

// How long a worker may stay in a state in which it is not supposed to linger.
const (
	readyWithin  = 10 * time.Second // a spare, from its start
	takenWithin  = 5 * time.Second  // a spare, from the assignment
	retireWithin = 5 * time.Second  // a spare that was told to go, or whose channel broke
)

// sweep ends workers that linger where they should not, and those whose
// connection has outlived its lifetime although the worker should have ended
// it. It lets the pools shrink. The loop calls it every second where there are
// spares or lifetimes.
func (m *Master) sweep(now time.Time) {
	for pid, w := range m.table.workers {
		if sig := w.overdue(now, m.cfg.KillDelay); sig != 0 {
			w.service.log.Warn("worker overdue", logging.PID(pid), logging.Signal(sig), logging.Reason(w.stateNow().String()))
			m.signalGroup(pid, sig)
		}
	}
	for _, s := range m.services {
		s.pool.shrink(now)
	}
	m.logSuppressed(now)
}

// settleSweep has the loop sweep as long as there is anything to sweep. After a
// reload there may be workers of services that are no more.
func (m *Master) settleSweep() {
	if m.needsSweep() || len(m.table.workers) > 0 {
		m.sweeping.Reset(time.Second)
	} else {
		m.sweeping.Stop()
	}
}

// needsSweep reports whether there is anything for sweep to look at.
func (m *Master) needsSweep() bool {
	for _, s := range m.services {
		if s.MaxSpares > 0 || s.MaxLifetime > 0 || s.refuses() || slices.ContainsFunc(s.rules, func(r rule) bool { return r.MaxLifetime != nil }) {
			return true
		}
	}
	return false
}

// overdue returns the signal that a worker has earned by lingering, or 0. A
// connection whose lifetime is over has killDelay to obey SIGTERM, and one whose
// worker knows its lifetime as much before that to end by itself.
func (w *worker) overdue(now time.Time, killDelay time.Duration) unix.Signal {
	p := w.service.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	age := now.Sub(w.since)
	switch {
	case w.state == starting && age > readyWithin,
		w.state == assigned && age > takenWithin,
		(w.state == retiring || w.state == broken) && age > retireWithin:
		return unix.SIGKILL
	}
	if w.conn == nil || w.conn.lifetime == 0 || w.state != serving {
		return 0
	}
	lifetime := w.conn.lifetime
	if !w.service.becomesProgram() {
		// It knows its lifetime and ends the connection itself, more kindly.
		lifetime += killDelay
	}
	switch {
	case age > lifetime+killDelay && w.warned:
		return unix.SIGKILL
	case age > lifetime && !w.warned:
		w.warned = true
		return unix.SIGTERM
	}
	return 0
}

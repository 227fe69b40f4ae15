package master

import (
	"fmt"
	"io"
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
		t, body, err := w.receive(m.message[:])
		switch err {
		case unix.EAGAIN:
			return
		case unix.ECONNRESET:
			// The worker ended with its assignment unread. The socket says so
			// first and once; what was sent before that comes after it.
			continue
		case io.EOF:
			if w.isCut() {
				m.hungUp(w)
				return
			}
			// A datagram of no bytes reads the same.
			err = fmt.Errorf("%w: empty message", ipc.ErrMalformed)
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
		return nil
	case t == ipc.TypeAck && state == assigned:
		w.service.handovers.record(w.service.pool.taken(w, now))
		m.stow(w, now)
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
		p.leave(w)
	}
}

// breach ends a worker that broke the contract. Its connection ends with it.
func (m *Master) breach(w *worker, err error) {
	w.breach = err
	p := w.service.pool
	p.mu.Lock()
	p.remove(w)
	if w.conn == nil && w.state != retiring {
		p.fail(time.Now(), w.state == starting)
	}
	w.enter(broken, time.Now())
	p.leave(w)
	p.mu.Unlock()
	if m.table.has(w.child.Pid) {
		w.service.log.Warn("contract broken", logging.PID(w.child.Pid), logging.Error(err))
		m.signalGroup(w.child.Pid, unix.SIGKILL)
	}
}

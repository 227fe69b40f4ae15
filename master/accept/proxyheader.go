package accept

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/proxy"
	"github.com/preforkd/preforkd/master/service"
)

// A proxyQueue is the connections of one service whose PROXY header has not come
// yet. They hold no slot and no process, and no accept goroutine waits for them.
//
// There is a limit to them, because each costs two descriptors. A proxy sends
// its header with the first packet. So a connection that still waits when many
// others have come and gone will hardly ever send one: the one that waits
// longest is sent away to make room.
type proxyQueue struct {
	mu      sync.Mutex
	readers []*proxy.Reader // that wait for a header, the longest first
	evicted map[*proxy.Reader]bool
	count   int // of connections, with those that wait for a slot
	closed  bool
}

const maxProxyQueue = 256

// enter makes room for one more connection. It reports false when all of them
// wait for a slot, so that nobody can be sent away.
func (q *proxyQueue) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count >= maxProxyQueue {
		if len(q.readers) == 0 {
			return false
		}
		oldest := q.readers[0]
		q.readers = slices.Delete(q.readers, 0, 1)
		if q.evicted == nil {
			q.evicted = map[*proxy.Reader]bool{}
		}
		q.evicted[oldest] = true
		oldest.Cancel()
	}
	q.count++
	return true
}

// reenter takes in a connection for which there was room before.
func (q *proxyQueue) reenter() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count++
}

func (q *proxyQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count--
}

// add notes that a reader waits; it is cancelled at once in a closed queue.
func (q *proxyQueue) add(r *proxy.Reader) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		r.Cancel()
		return
	}
	q.readers = append(q.readers, r)
}

// remove notes that a reader waits no more. It reports whether the reader had to
// make room.
func (q *proxyQueue) remove(r *proxy.Reader) (evicted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.readers, r); i >= 0 {
		q.readers = slices.Delete(q.readers, i, i+1)
	}
	evicted = q.evicted[r]
	delete(q.evicted, r)
	return evicted
}

// close sends everybody away who waits, and who comes from now on.
func (q *proxyQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, r := range q.readers {
		r.Cancel()
	}
	q.readers = nil
}

// isEvicted reports whether a reader that waits has to make room.
func (q *proxyQueue) isEvicted(r *proxy.Reader) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.evicted[r]
}

// place returns the place of a reader among those that wait, which is after all others if
// it does not any more.
func (q *proxyQueue) place(r *proxy.Reader) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.readers, r); i >= 0 {
		return i
	}
	return len(q.readers)
}

func (q *proxyQueue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// open lets readers of the queue wait again.
func (q *proxyQueue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = false
}

// proxyQueues are the queues of all services.
type proxyQueues struct {
	mu     sync.Mutex
	queues map[*service.Service]*proxyQueue
	closed bool // so are all queues that are made from now on
}

func (p *proxyQueues) of(s *service.Service) *proxyQueue {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[s]
	if q == nil {
		if p.queues == nil {
			p.queues = map[*service.Service]*proxyQueue{}
		}
		q = &proxyQueue{closed: p.closed}
		p.queues[s] = q
	}
	return q
}

// open opens the queue of a service. One that nobody has waited in is open.
func (p *proxyQueues) open(s *service.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.queues[s]; q != nil {
		q.open()
	}
}

func (p *proxyQueues) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, q := range p.queues {
		q.close()
	}
}

func (p *proxyQueues) drop(s *service.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.queues, s)
}

// awaitProxyHeader waits for a proxy's header in a goroutine of its own, and goes
// on with the client that it names. Where too many wait, the accept goroutine
// waits itself, which keeps it from taking more.
func (a *Acceptor) awaitProxyHeader(c candidate) {
	q := a.queues.of(c.spec.Owner())
	if !q.enter() {
		a.admitAfterHeader(c, q)
		return
	}
	c.own = true
	a.waiters.begin()
	a.goroutine.Go(func() {
		defer a.waiters.end()
		defer q.leave()
		a.admitAfterHeader(c, q)
	})
}

// admitAfterHeader reads a connection's header and has it served or refused.
func (a *Acceptor) admitAfterHeader(c candidate, q *proxyQueue) {
	header, err := a.readHeader(c, q)
	a.goOnAfterHeader(c, header, err)
}

// goOnAfterHeader has a connection served or refused of which the header has come, or has
// not.
func (a *Acceptor) goOnAfterHeader(c candidate, header proxy.Header, err error) {
	s := c.spec.Owner()
	if err != nil {
		reason, told := admit.ProxyMissing, err
		switch {
		case errors.Is(err, proxy.ErrTimeout):
			reason = admit.ProxyTimeout
		case errors.Is(err, errEvicted), errors.Is(err, proxy.ErrNoMemory):
			reason = admit.ProxyCrowded
		case errors.Is(err, proxy.ErrCanceled):
			reason, told = admit.Draining, nil // nothing is wrong with the header
		case errors.Is(err, proxy.ErrOversized):
			reason = admit.ProxyOversized
		case errors.Is(err, proxy.ErrMalformed):
			reason = admit.ProxyMalformed
		}
		s.Log.Debug("no PROXY header", a.cfg.Redact.Peer(c.conn, c.conn.PeerName()), logging.Reason(reason.String()), a.cfg.Redact.HeaderError(err))
		a.refuse(c, reason, told)
		return
	}
	if !header.Own {
		c.conn.SetProxied(header.Peer, header.Local)
		c.peer = peerOf(c.conn)
	}
	if s.Draining() {
		a.refuse(c, admit.Draining, nil)
		return
	}
	// The loop and the log hear of a start that failed from the dispatcher.
	_ = a.admit(c, s.Gate.Admit(c.peer, time.Now(), false))
}

var errEvicted = errors.New("too many wait for their PROXY header")

// maxHeaderMemory bounds what the long headers of all services take that are
// incomplete. It is enough for 64 of the largest at once.
const maxHeaderMemory = 4 << 20

func (a *Acceptor) readHeader(c candidate, q *proxyQueue) (proxy.Header, error) {
	r, err := proxy.NewReader(c.conn.FD, a.headers)
	if err != nil {
		return proxy.Header{}, err
	}
	q.add(r)
	return a.read(&waiter{candidate: c, queue: q, reader: r, deadline: time.Now().Add(c.spec.ProxyTimeout)})
}

// read waits for the header of a waiter, whose reader is in the queue, and closes the
// reader.
func (a *Acceptor) read(w *waiter) (header proxy.Header, err error) {
	for {
		_ = a.waiters.wait(w) // which pauses the reader
		header, err = w.reader.Read(w.deadline)
		a.waiters.goOn(w)
		if err != proxy.ErrPaused {
			break
		}
	}
	if w.queue.remove(w.reader) && errors.Is(err, proxy.ErrCanceled) {
		err = errEvicted
	}
	if closeErr := w.reader.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("give back connection: %w", closeErr)
	}
	return header, err
}

package master

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/proxy"
)

// pending holds the connections of a service whose PROXY header has not come
// yet. They hold no slot and no process, and no accept goroutine waits for them.
//
// There is a limit to them, because each costs two descriptors. A proxy sends
// its header with the first packet, so one that is still waiting when many
// others have come and gone will hardly ever come: the longest waiting one makes
// room.
type pending struct {
	mu      sync.Mutex
	readers []*proxy.Reader // that wait for a header, the longest first
	crowded map[*proxy.Reader]bool
	inside  int // with those that wait for a slot
	closed  bool
}

const maxPending = 256

// enter makes room for one more connection. It reports false when all wait for
// a slot, and nobody can be sent away.
func (p *pending) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inside >= maxPending {
		if len(p.readers) == 0 {
			return false
		}
		oldest := p.readers[0]
		p.readers = slices.Delete(p.readers, 0, 1)
		if p.crowded == nil {
			p.crowded = map[*proxy.Reader]bool{}
		}
		p.crowded[oldest] = true
		oldest.Cancel()
	}
	p.inside++
	return true
}

func (p *pending) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside--
}

// wait notes that a reader waits, unless there is no point in it any more.
func (p *pending) wait(r *proxy.Reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		r.Cancel()
		return
	}
	p.readers = append(p.readers, r)
}

// done notes that a reader waits no more. It reports whether it had to make
// room.
func (p *pending) done(r *proxy.Reader) (crowded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.readers, r); i >= 0 {
		p.readers = slices.Delete(p.readers, i, i+1)
	}
	crowded = p.crowded[r]
	delete(p.crowded, r)
	return crowded
}

// close sends everybody away who still waits.
func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, r := range p.readers {
		r.Cancel()
	}
	p.readers = nil
}

// pend waits for a proxy's header in a goroutine of its own, and goes on with
// the client that it names. Where too many wait, it does so itself, which keeps
// an accept goroutine from taking more.
func (m *Master) pend(s *service, conn *listen.Conn) {
	if !s.pending.enter() {
		m.proxied(s, conn)
		return
	}
	m.accepting.Go(func() {
		defer s.pending.leave()
		m.proxied(s, conn)
	})
}

// proxied reads a connection's header and has it served or refused.
func (m *Master) proxied(s *service, conn *listen.Conn) {
	header, err := m.header(s, conn)
	if err != nil {
		reason := admit.ProxyMissing
		switch {
		case errors.Is(err, proxy.ErrTimeout):
			reason = admit.ProxyTimeout
		case errors.Is(err, errCrowded):
			reason = admit.ProxyCrowded
		case errors.Is(err, proxy.ErrCanceled):
			reason = admit.Draining
		case errors.Is(err, proxy.ErrOversized):
			reason = admit.ProxyOversized
		case errors.Is(err, proxy.ErrMalformed):
			reason = admit.ProxyMalformed
		}
		s.log.Debug("no PROXY header", m.privacy.peer(conn), logging.Reason(reason.String()), m.privacy.complaint(err))
		m.refuse(s, conn, reason)
		return
	}
	if !header.Own {
		conn.Proxied(header.Peer, header.Local)
	}
	// The loop has heard of a spawn that failed, and so has the log.
	_ = m.admit(s, conn, false)
}

var errCrowded = errors.New("too many wait for their PROXY header")

func (m *Master) header(s *service, conn *listen.Conn) (proxy.Header, error) {
	r, err := proxy.NewReader(conn.FD)
	if err != nil {
		return proxy.Header{}, err
	}
	s.pending.wait(r)
	header, err := r.Read(time.Now().Add(s.ProxyTimeout))
	if s.pending.done(r) && errors.Is(err, proxy.ErrCanceled) {
		err = errCrowded
	}
	if closeErr := r.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("give back connection: %w", closeErr)
	}
	return header, err
}

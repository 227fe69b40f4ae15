package accept

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/logging"
)

// refuse refuses a connection about which the gate was not asked. header is what
// is wrong with its PROXY header, or nil.
func (a *Acceptor) refuse(c candidate, reason admit.Reason, header error) {
	c.spec.Owner().Gate.Refuse(reason)
	a.reject(c, reason, c.source(), header)
}

// reject closes a connection whose refusal the gate has counted, with the
// service's message if it has one. It logs the refusal unless there are too many.
func (a *Acceptor) reject(c candidate, reason admit.Reason, source admit.Source, header error) {
	s, r := c.spec.Owner(), a.cfg.Redact
	if !c.spec.LogsRefusals(c.peer) {
		a.end(c, reason)
		return
	}
	suppressed, log := s.Refusals.Note(reason, time.Now())
	switch {
	case log:
		s.Log.Info(logging.EventRefused, r.Peer(c.conn, c.conn.PeerName()), logging.Local(c.conn.LocalName()), r.Via(c.conn),
			r.Source(source), logging.Reason(reason.String()), r.HeaderError(header), logging.Suppressed(suppressed))
	case suppressed == 1:
		select {
		case a.suppressed <- struct{}{}:
		default: // the loop is about to hear of it
		}
	}
	a.end(c, reason)
}

// end closes a refused connection.
func (a *Acceptor) end(c candidate, reason admit.Reason) {
	if c.spec.RefuseMessage == "" || reason == admit.Gone {
		unix.Close(c.conn.FD)
		return
	}
	// A message that does not fit at once is cut: the send buffer of a fresh
	// connection has room for far more than the configuration allows.
	_ = unix.Sendto(c.conn.FD, []byte(c.spec.RefuseMessage), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	a.cfg.Linger.Close(c.conn.FD, linger.Refused)
}

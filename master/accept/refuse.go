package accept

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/logging"
)

// refuse refuses a connection about which the gate was not asked.
func (a *Acceptor) refuse(c candidate, reason admit.Reason) {
	c.spec.Owner().Gate.Refuse(reason)
	a.reject(c, reason, admit.SourceOf(c.peer, c.spec.SourcePrefixV4, c.spec.SourcePrefixV6))
}

// reject closes a connection whose refusal the gate has counted, with the
// service's message if it has one. It logs the refusal unless there are too many.
func (a *Acceptor) reject(c candidate, reason admit.Reason, source admit.Source) {
	s, r := c.spec.Owner(), a.cfg.Redact
	if suppressed, log := s.Refusals.Note(reason, time.Now()); log {
		s.Log.Info(logging.EventRefused, r.Peer(c.conn, c.conn.PeerName()), logging.Local(c.conn.LocalName()), r.Via(c.conn),
			r.Source(source), logging.Reason(reason.String()), logging.Suppressed(suppressed))
	}
	if c.spec.RefuseMessage == "" {
		unix.Close(c.conn.FD)
		return
	}
	a.lingering.refuse(c.conn.FD, c.spec.RefuseMessage)
}

// lingeringRefusals ends refused connections with a message. The message goes
// into the socket at once or not at all. Then the connection is half-closed, and
// what the peer has sent is read and thrown away for a moment: closing a socket
// that holds unread bytes resets the connection, and the reset would destroy the
// message on its way (RFC 1122 section 4.2.2.13).
//
// Nobody waits for that, least of all an accept goroutine. Whoever is refused
// may have come to do harm, so it is bounded how many linger, for how long and
// for how many bytes.
type lingeringRefusals struct{ count atomic.Int32 }

const (
	maxLingering = 64
	lingerTime   = 2 * time.Second
	lingerBytes  = 256 << 10
)

// refuse takes ownership of conn, a socket in blocking mode.
func (l *lingeringRefusals) refuse(conn int, message string) {
	// A message that does not fit at once is cut: the send buffer of a fresh
	// connection has room for far more than the configuration allows.
	_ = unix.Sendto(conn, []byte(message), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	_ = unix.Shutdown(conn, unix.SHUT_WR)
	if l.count.Add(1) > maxLingering || unix.SetNonblock(conn, true) != nil {
		l.count.Add(-1)
		unix.Close(conn)
		return
	}
	file := os.NewFile(uintptr(conn), "refused connection")
	go func() {
		defer l.count.Add(-1)
		defer file.Close()
		if file.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
			return
		}
		buf := make([]byte, 4096)
		for left := lingerBytes; left > 0; {
			n, err := file.Read(buf)
			if err != nil {
				return // the peer's end, a reset, or the deadline
			}
			left -= n
		}
	}()
}

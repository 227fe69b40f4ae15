package accept

import (
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
)

// A candidate is a connection that was accepted and not admitted yet: who it is
// was worked out once, and travels with it.
type candidate struct {
	spec *service.Spec
	conn *listen.Conn
	peer admit.Peer
}

// serve decides about a connection that was just accepted with a reservation of
// its service's gate, and gives it to a worker. It returns the error of the
// start. In any case it has taken over the descriptor and the reservation.
func (a *Acceptor) serve(spec *service.Spec, conn *listen.Conn) error {
	s := spec.Owner()
	s.Ledger.Accepted()
	c := candidate{spec, conn, peerOf(conn)}
	if spec.BelievesProxy(c.peer) {
		// For whom it speaks is not known yet. Until then it has no claim to
		// a slot that somebody else could have.
		s.Gate.Cancel()
		a.awaitProxyHeader(c)
		return nil
	}
	return a.admit(c, s.Gate.Admit(c.peer, time.Now(), true))
}

// admit does what the gate has decided. A connection that is told to wait asks
// again when a slot is free.
func (a *Acceptor) admit(c candidate, d admit.Decision) error {
	s := c.spec.Owner()
	for d.Outcome == admit.Wait {
		select {
		case <-s.Gate.SlotFreed():
			d = s.Gate.Admit(c.peer, time.Now(), false)
		case <-s.Drained():
			a.refuse(c, admit.Draining)
			return nil
		case <-a.cfg.Stopping:
			a.refuse(c, admit.Draining)
			return nil
		}
	}
	if d.Outcome == admit.Refused {
		a.reject(c, d.Reason, d.Source)
		return nil
	}
	conn := service.NewConnection(c.spec, c.conn, d, a.cfg.IDs.Next(), a.cfg.Redact)
	if d.PenaltyDryRun {
		s.Log.Info("spared", logging.Conn(conn.ID), conn.Peer(), conn.Source(d.Source),
			logging.Reason(admit.Penalized.String()), zap.Time("until", d.Until))
	}
	return a.cfg.Dispatcher.Dispatch(conn)
}

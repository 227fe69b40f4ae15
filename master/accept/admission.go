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
	own  bool // a goroutine of its own has it, and not one of the crew
}

// source returns what limits count the peer as.
func (c *candidate) source() admit.Source {
	return admit.SourceOf(c.peer, c.spec.SourcePrefixV4, c.spec.SourcePrefixV6)
}

// serve decides about a connection that was just accepted with a reservation of
// its service's gate, and gives it to a worker. It returns the error of the
// start. In any case it has taken over the descriptor and the reservation.
//
// Clients that have waited for long may have gone. Nobody else is asked, because
// that costs a system call.
func (a *Acceptor) serve(arrived arrival, now time.Time) error {
	spec, conn := arrived.spec, arrived.conn
	s := spec.Owner()
	s.Ledger.Accepted()
	c := candidate{spec: spec, conn: conn, peer: peerOf(conn)}
	if arrived.queued && conn.Gone() {
		s.Gate.Cancel()
		a.refuse(c, admit.Gone, nil)
		return nil
	}
	if spec.BelievesProxy(c.peer) {
		// For whom it speaks is not known yet. Until then it has no claim to
		// a slot that somebody else could have.
		s.Gate.Cancel()
		a.awaitProxyHeader(c)
		return nil
	}
	return a.admit(c, s.Gate.Admit(c.peer, now, true))
}

// admit does what the gate has decided. A connection that is told to wait asks
// again when a slot is free.
func (a *Acceptor) admit(c candidate, d admit.Decision) error {
	s := c.spec.Owner()
	if d.Outcome == admit.Wait {
		w := a.foundFull(s, func(w *watch) { w.waiting++ })
		d = a.awaitSlot(c)
		a.watches.stopsWaiting(w)
	}
	if d.Outcome == admit.Refused {
		if d.Reason == admit.MaxConnections {
			a.foundFull(s, func(w *watch) { w.turnedAway = true })
		}
		a.reject(c, d.Reason, d.Source, nil)
		return nil
	}
	conn := service.NewConnection(c.spec, c.conn, d, a.cfg.IDs.Next(), a.cfg.Redact)
	if d.PenaltyDryRun && conn.LogsFailures() {
		s.Log.Info("spared", logging.Conn(conn.ID), conn.Peer(), conn.Source(d.Source),
			logging.Reason(admit.Penalized.String()), zap.Time("until", d.Until))
	}
	return a.cfg.Dispatcher.Dispatch(conn)
}

// awaitSlot waits for a free slot and asks the gate again, until it does not say that
// the connection has to wait.
func (a *Acceptor) awaitSlot(c candidate) admit.Decision {
	s := c.spec.Owner()
	refused := func(reason admit.Reason) admit.Decision {
		s.Gate.Refuse(reason)
		return admit.Decision{Outcome: admit.Refused, Reason: reason, Source: c.source()}
	}
	w := &waiter{candidate: c}
	for {
		pausing := a.waiters.wait(w)
		var freed, over bool
		select {
		case <-s.Gate.SlotFreed():
			freed = true
		case <-s.Drained():
			over = true
		case <-a.cfg.Stopping:
			over = true
		case <-pausing:
		}
		a.waiters.goOn(w)
		switch {
		case over:
			return refused(admit.Draining)
		case !freed:
		case c.conn.Gone():
			return refused(admit.Gone)
		default:
			if d := s.Gate.Admit(c.peer, time.Now(), false); d.Outcome != admit.Wait {
				return d
			}
		}
	}
}

package master

import (
	"time"

	"golang.org/x/sys/unix"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// serve decides about a connection that was just accepted, with a reservation
// of the service's gate, and gives it to a worker. It returns the error of the
// spawn. Either way the descriptor is taken care of and the slot is the loop's
// to give back.
func (m *Master) serve(s *service, conn *listen.Conn) error {
	s.accepted.Add(1)
	if _, believed := s.proxies.Lookup(peerOf(conn)); believed {
		// For whom it speaks is not known yet. Until then it has no claim to
		// a slot that somebody else could have.
		s.gate.Cancel()
		m.pend(s, conn)
		return nil
	}
	return m.admit(s, conn, true)
}

// admit asks the gate and does what it says. Without a reservation it may have
// to wait for a slot first.
func (m *Master) admit(s *service, conn *listen.Conn, reserved bool) error {
	for {
		d := s.gate.Admit(peerOf(conn), time.Now(), reserved)
		reserved = false
		switch d.Outcome {
		case admit.Admitted:
			c := m.newConnection(s, conn, d)
			if d.Spared {
				s.log.Info("spared", logging.Conn(c.id), c.peer(), m.privacy.source(d.Source),
					logging.Reason(admit.Penalized.String()), zap.Time("until", d.Until))
			}
			return m.start(c)
		case admit.Refused:
			m.turnAway(s, conn, d.Reason, d.Source)
			return nil
		}
		select {
		case <-s.gate.Freed():
		case <-m.closing:
			m.refuse(s, conn, admit.Draining)
			return nil
		}
	}
}

// refuse refuses a connection about which the gate was not asked.
func (m *Master) refuse(s *service, conn *listen.Conn, reason admit.Reason) {
	s.gate.Refuse(reason)
	m.turnAway(s, conn, reason, admit.SourceOf(peerOf(conn), s.SourcePrefixV4, s.SourcePrefixV6))
}

// turnAway closes a connection that the gate has refused, with the service's
// message if it has one, and logs it unless too many are.
func (m *Master) turnAway(s *service, conn *listen.Conn, reason admit.Reason, source admit.Source) {
	if suppressed, log := s.refusals.Note(reason, time.Now()); log {
		s.log.Info(logging.EventRefused, m.privacy.peer(conn), logging.Local(conn.LocalName()), m.privacy.via(conn),
			m.privacy.source(source), logging.Reason(reason.String()), logging.Suppressed(suppressed))
	}
	if s.RefuseMessage == "" {
		unix.Close(conn.FD)
		return
	}
	m.farewells.say(conn.FD, s.RefuseMessage)
}

// refuses reports whether the service may refuse anybody.
func (s *service) refuses() bool {
	p := &s.policy
	return !p.Wait || p.Rate.IsLimit() || p.Limits != (admit.Limits{}) || p.Drop != (admit.Drop{}) || p.Penalties.First > 0 ||
		len(s.Allow)+len(s.Deny)+len(s.Rules)+len(s.ProxyProtocol) > 0
}

// logSuppressed says how many refusals were not logged, once they have ceased.
func (m *Master) logSuppressed(now time.Time) {
	for _, s := range m.services {
		for reason, n := range s.refusals.Rest(now) {
			s.log.Info(logging.EventRefused, logging.Reason(reason.String()), logging.Suppressed(n))
		}
	}
}

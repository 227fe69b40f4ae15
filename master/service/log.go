package service

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/logging"
)

// LogOf returns of which connections of a peer the log tells.
func (s *Spec) LogOf(p admit.Peer) config.ConnectionLog {
	rule, _ := s.policy.Rules.Decide(p)
	log, _ := s.logBy(effectOf(rule))
	return log
}

// LogsRefusals reports whether the log tells of refused connections of a peer.
func (s *Spec) LogsRefusals(p admit.Peer) bool { return s.LogOf(p) != config.LogNone }

// effectOf returns what an entry of the gate means beyond limits, nil for nothing.
func effectOf(entry *admit.Rule) *Rule {
	if entry == nil {
		return nil
	}
	rule, _ := entry.Effect.(*Rule)
	return rule
}

// logBy returns of which connections to which an address rule applies the log tells,
// and whether it is the rule that decides. The rule may be nil.
func (s *Spec) logBy(rule *Rule) (log config.ConnectionLog, byRule bool) {
	if rule != nil && rule.Log != nil {
		return *rule.Log, true
	}
	return s.Log, false
}

// LogsFailures reports whether the log tells of the connection if it fails.
func (c *Connection) LogsFailures() bool { return c.log != config.LogNone }

// LogsEnd reports whether the log tells of the connection's end. failed says that
// it has failed.
func (c *Connection) LogsEnd(failed bool) bool {
	return c.log == config.LogAll || failed && c.LogsFailures()
}

// Failed reports whether a connection has failed for the reason that its worker gives.
// A client that resets its connection is not a failure: balancers end their health
// checks so.
func Failed(r ipc.Reason) bool {
	switch r {
	case ipc.ReasonIdle, ipc.ReasonLifetime, ipc.ReasonPanic, ipc.ReasonError:
		return true
	}
	return false
}

// Origin returns the fields by which an event tells whose connection it is: all that
// the event of its accept says, if the log does not have that one.
func (c *Connection) Origin() []zap.Field {
	fields := make([]zap.Field, 0, 16)
	fields = append(fields, logging.Conn(c.ID), c.Peer(), logging.Local(c.Local))
	if c.log != config.LogAll {
		fields = append(fields, c.redact.Via(c.conn))
	}
	return fields
}

// LogSuppressed says how many refusals of the service were not logged, for reasons
// that have ceased by then.
func (s *Service) LogSuppressed(now time.Time) {
	for reason, n := range s.Refusals.Rest(now) {
		s.Log.Info(logging.EventRefused, logging.Reason(reason.String()), logging.Suppressed(n))
	}
}

// TakeUnconfinedNote takes out of a report what the worker of a built-in handler says
// of its confinement. spec is what the worker runs by. The first such note is worth a
// warning; what the kernel lacks it lacks for all workers of the service.
func (s *Service) TakeUnconfinedNote(spec *Spec, values []ipc.Pair) []ipc.Pair {
	if spec.Handler == "" {
		return values
	}
	return slices.DeleteFunc(values, func(v ipc.Pair) bool {
		if v.Key != ipc.ValueUnconfined {
			return false
		}
		if s.unconfinedTold.CompareAndSwap(false, true) {
			s.Log.Warn("workers are not fully confined", logging.Reason(v.Value))
		}
		return true
	})
}

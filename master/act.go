package master

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// by is how the log says that a client of the control socket wanted something.
func by(peer control.Peer) string { return "control: " + peer.String() }

// Drain begins to stop a service, or with "" the master, as SIGTERM does. What
// drains already goes on draining.
func (m *Master) Drain(ctx context.Context, name string, peer control.Peer) (d control.Drained, err error) {
	asked := m.ask(ctx, func() {
		m.takeSpawns()
		// With one connection to serve there is nothing to be drained but all.
		if name == "" || m.once {
			m.drain(by(peer))
			d = control.Drained{State: m.stop.phase.String(), Live: m.sums().live(), Timeout: m.cfg.DrainTimeout.Seconds()}
			return
		}
		var s *service
		if s, err = m.named(name); err != nil {
			return
		}
		m.drainService(s, by(peer))
		live := s.sums().live()
		d = control.Drained{Service: s.Name, State: m.stateOf(s, live), Live: live}
	})
	if asked != nil {
		return d, asked
	}
	return d, err
}

// named returns the service of a name.
func (m *Master) named(name string) (*service, error) {
	var names []string
	for _, s := range m.services {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return nil, control.Errorf(control.NotFound, "there is no service %q; there is %s", name, strings.Join(names, ", "))
}

// drainService closes a service's listeners and retires its spares, while its
// connections go on. What brings it back is a reload, which finds it gone and
// makes it anew. A socket that the service manager has passed is the manager's:
// it stays open there, and clients wait in its queue.
func (m *Master) drainService(s *service, reason string) {
	if s.drained || m.stop.phase != running {
		return
	}
	s.drained = true
	if m.reloading {
		m.lateDrains = append(m.lateDrains, lateDrain{s.Name, reason, m.reloadAgain})
	}
	s.log.Info(logging.EventDraining, logging.Reason(reason), zap.Uint64("live", s.sums().live()))
	s.pool.close(time.Now())
	for _, l := range s.listeners {
		m.unstore(l)
		m.closeListener(l)
	}
	s.listeners = nil
	for _, w := range m.table.workers {
		if w.service.books == s.books {
			w.tellDrain()
		}
	}
}

// Kill signals the group of the worker that serves a connection. The connection
// ends when its worker does.
func (m *Master) Kill(ctx context.Context, connection string, sig unix.Signal, peer control.Peer) (k control.Killed, err error) {
	asked := m.ask(ctx, func() {
		m.takeSpawns()
		pid, w := m.serving(connection)
		if w == nil {
			err = control.Errorf(control.NotFound, "there is no live connection %q", connection)
			return
		}
		// It is in the table, so it is not reaped, and its pid is its own.
		if err = process.SignalGroup(pid, sig); err != nil {
			err = control.Errorf(control.Failed, "signal worker %d: %v", pid, err)
			return
		}
		if sig == unix.SIGTERM {
			// A stopped process acts on SIGTERM when it goes on, and not before.
			_ = process.SignalGroup(pid, unix.SIGCONT)
		}
		if endsByDefault(sig) {
			// How the worker ends now is not its source's fault.
			w.signalled = true
		}
		w.service.log.Info(logging.EventSignalled, logging.Conn(connection), logging.PID(pid), logging.Signal(sig), logging.Reason(by(peer)))
		k = control.Killed{Connection: connection, Service: w.service.Name, PID: pid, Signal: control.SignalName(sig)}
	})
	if asked != nil {
		return k, asked
	}
	return k, err
}

// endsByDefault reports whether a signal ends a process that does nothing about
// it, and does not only stop it, or let it go on (signal(7)).
func endsByDefault(sig unix.Signal) bool {
	switch sig {
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH:
		return false
	}
	return true
}

// serving returns the worker that has a connection, and its pid.
func (m *Master) serving(connection string) (int, *worker) {
	for pid, w := range m.table.workers {
		p := w.service.pool
		p.mu.Lock()
		found := w.conn != nil && w.conn.id == connection
		p.mu.Unlock()
		if found {
			return pid, w
		}
	}
	return 0, nil
}

// LogLevel returns the level of the log.
func (m *Master) LogLevel() string { return m.logger.Level.String() }

// SetLogLevel changes the level of the log, until the master ends.
func (m *Master) SetLogLevel(ctx context.Context, level string, peer control.Peer) (l control.LogLevel, err error) {
	to, err := logging.ParseLevel(level)
	if err != nil {
		return l, control.Errorf(control.Invalid, "%v", err)
	}
	// In the loop, so that two at a time tell a story that makes sense.
	err = m.ask(ctx, func() {
		from := m.logger.Level.Level()
		l = control.LogLevel{Level: to.String(), Before: from.String()}
		if from == to {
			return
		}
		// The event is for everybody to see who sees anything before or after.
		m.logger.Level.SetLevel(min(from, to))
		m.log.Log(max(zapcore.InfoLevel, min(from, to)), logging.EventLogLevel,
			zap.String("from", l.Before), zap.String("to", l.Level), logging.Reason(by(peer)))
		m.logger.Level.SetLevel(to)
	})
	return l, err
}

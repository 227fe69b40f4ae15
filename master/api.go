package master

import (
	"context"
	"math"
	"net/netip"
	"os/user"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/coalesce"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/status"
)

// The methods in this file are what the control socket and the metrics ask for
// (control.Backend). They may be called by anybody while Run runs.

// statusQueries share what is expensive to find out.
type statusQueries struct {
	all, summary *coalesce.Group[control.Status]
}

const (
	// statusMinInterval is the least between two looks at the master, however
	// many there are who look.
	statusMinInterval = 100 * time.Millisecond
	statusTimeout     = 20 * time.Second
)

func newStatusQueries(m *Master) *statusQueries {
	query := func(connections bool) func(context.Context) (control.Status, error) {
		return func(ctx context.Context) (control.Status, error) { return m.collectStatus(ctx, connections) }
	}
	return &statusQueries{
		all:     coalesce.New(query(true), statusMinInterval, statusTimeout),
		summary: coalesce.New(query(false), statusMinInterval, statusTimeout),
	}
}

// Status returns how the master and its connections are. Nobody may change what
// it returns.
func (m *Master) Status(ctx context.Context) (control.Status, error) { return m.status.all.Get(ctx) }

// Summary is Status without the connections, and cheap at any number of them.
func (m *Master) Summary(ctx context.Context) (control.Status, error) {
	return m.status.summary.Get(ctx)
}

// collectStatus has the loop copy what only the loop knows. What takes time is
// found out here.
func (m *Master) collectStatus(ctx context.Context, connections bool) (control.Status, error) {
	var v *status.View
	if err := m.runOnLoop(ctx, func() { v = m.view(time.Now(), connections) }); err != nil {
		return control.Status{}, err
	}
	return v.Complete(status.Master{Started: m.origin.started, Config: m.origin.file, Logger: m.log}), nil
}

func (m *Master) view(now time.Time, connections bool) *status.View {
	m.takeOutcomes()
	return status.Collect(m.rooms(), now, connections)
}

func (m *Master) rooms() *status.Rooms {
	server, controlError := m.admin.Control()
	return &status.Rooms{
		Services: m.services.inForce, Totals: m.services.retired, Unused: m.services.unused(),
		Workers: m.workers, Endpoints: m.endpoints, Dispatcher: m.dispatcher,
		State: m.phase.is().String(), Stopping: m.phase.is() != running, Signal: m.phase.signal(),
		Upgrades:    m.upgrades.Upgrades,
		NotReloaded: m.reloads.Failure(), ReloadProblem: m.reloads.Problem(),
		Control: server, ControlError: controlError,
	}
}

// logSummary writes the state of the master and of each service to the log.
func (m *Master) logSummary() { status.LogSummary(m.rooms(), m.log.Logger) }

// requestedBy is how the log says that a client of the control socket wanted
// something.
func requestedBy(peer control.Peer) string { return "control: " + peer.String() }

// Drain begins to stop a service, or with "" the master, as SIGTERM does. What
// drains already goes on draining.
func (m *Master) Drain(ctx context.Context, name string, peer control.Peer) (d control.Drained, err error) {
	asked := m.runOnLoop(ctx, func() {
		m.takeOutcomes()
		// With one connection to serve there is nothing to be drained but all.
		if name == "" || m.once.enabled {
			m.advance(drainRequested, requestedBy(peer))
			d = control.Drained{State: m.phase.is().String(), Live: m.services.totals().Live(), Timeout: m.services.cfg.DrainTimeout.Seconds()}
			return
		}
		var s *service.Service
		if s, err = m.services.named(name); err != nil {
			return
		}
		m.drainService(s, requestedBy(peer))
		live := s.Totals().Live()
		d = control.Drained{Service: s.Name, State: status.StateOf(s, m.phase.is() != running, live), Live: live}
	})
	if asked != nil {
		return d, asked
	}
	return d, err
}

// Kill signals the group of the worker that serves a connection. The connection
// ends when its worker does.
func (m *Master) Kill(ctx context.Context, connection string, sig unix.Signal, peer control.Peer) (k control.Killed, err error) {
	asked := m.runOnLoop(ctx, func() {
		m.takeOutcomes()
		w := m.workers.Serving(connection)
		if w == nil {
			err = control.Errorf(control.NotFound, "there is no live connection %q", connection)
			return
		}
		if err = w.Signal(sig); err != nil {
			err = control.Errorf(control.Failed, "signal worker %d: %v", w.PID(), err)
			return
		}
		if endsByDefault(sig) {
			w.MarkKilled()
		}
		w.Owner().Log.Info(logging.EventSignalled, logging.Conn(connection), logging.PID(w.PID()), logging.Signal(sig), logging.Reason(requestedBy(peer)))
		k = control.Killed{Connection: connection, Service: w.Owner().Name, PID: w.PID(), Signal: control.SignalName(sig)}
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

// LogLevel returns the level of the log.
func (m *Master) LogLevel() string { return m.log.Level.String() }

// SetLogLevel changes the level of the log, until the master ends.
func (m *Master) SetLogLevel(ctx context.Context, level string, peer control.Peer) (l control.LogLevel, err error) {
	to, err := logging.ParseLevel(level)
	if err != nil {
		return l, control.Errorf(control.Invalid, "%v", err)
	}
	// On the loop, so that two at a time tell a story that makes sense.
	err = m.runOnLoop(ctx, func() {
		from := m.log.Level.Level()
		l = control.LogLevel{Level: to.String(), Before: from.String()}
		if from == to {
			return
		}
		// The event is for everybody to see who sees anything before or after.
		m.log.Level.SetLevel(min(from, to))
		m.log.Log(max(zapcore.InfoLevel, min(from, to)), logging.EventLogLevel,
			zap.String("from", l.Before), zap.String("to", l.Level), logging.Reason(requestedBy(peer)))
		m.log.Level.SetLevel(to)
	})
	return l, err
}

// Explain says what would become now of a connection from an address, an IP
// address or "uid:USER", of one service or with "" of each. It changes nothing.
func (m *Master) Explain(ctx context.Context, address, name string) (control.Explained, error) {
	peer, err := parsePeer(address)
	if err != nil {
		return control.Explained{}, err
	}
	e := control.Explained{Services: []control.Explanation{}}
	var unknown error
	err = m.runOnLoop(ctx, func() {
		services := m.services.inForce
		if name != "" {
			var s *service.Service
			if s, unknown = m.services.named(name); unknown != nil {
				return
			}
			services = []*service.Service{s}
		}
		now := time.Now()
		for _, s := range services {
			x := s.Explain(peer, now)
			if status.StateOf(s, m.phase.is() != running, 1) == status.Draining {
				x.Outcome, x.Reason, x.By, x.Until = control.OutcomeRefused, admit.Draining.String(), "drain", nil
				if s.Draining() && !m.isEnding() {
					x.Note = "preforkd resume brings it back"
				}
			}
			x.Address = address
			e.Services = append(e.Services, x)
		}
	})
	if err == nil {
		err = unknown
	}
	return e, err
}

// parsePeer returns whom an address stands for. It may look up an account.
func parsePeer(address string) (admit.Peer, error) {
	if !strings.HasPrefix(address, "uid:") {
		addr, err := netip.ParseAddr(address)
		if err != nil {
			return admit.Peer{}, control.Errorf(control.Invalid, "address %q: must be an IP address, or uid: and a user for unix sockets", address)
		}
		return admit.Peer{Addr: addr}, nil
	}
	set, err := config.ParsePeerSet(address)
	if err != nil {
		return admit.Peer{}, control.Errorf(control.Invalid, "address %q: %v", address, err)
	}
	uid, err := set.ID()
	if err != nil {
		return admit.Peer{}, control.Errorf(control.Invalid, "address %q: %v", address, err)
	}
	// Rules for groups go by the group that a process runs with, which for a
	// user is at first the one of the account. The highest number is nobody's.
	p := admit.Peer{UID: uid, GID: math.MaxUint32}
	if account, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		if gid, err := strconv.ParseUint(account.Gid, 10, 32); err == nil {
			p.GID = uint32(gid)
		}
	}
	return p, nil
}

package master

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/accept"
	"github.com/preforkd/preforkd/master/admin"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/reloading"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/signals"
	"github.com/preforkd/preforkd/master/spawner"
	"github.com/preforkd/preforkd/master/systemd"
	"github.com/preforkd/preforkd/master/upgrade"
	"github.com/preforkd/preforkd/master/workers"
)

// A Master holds the listeners and owns the workers. The loop owns all of it,
// but for what its rooms share by themselves.
type Master struct {
	log    *logging.Logger
	origin origin
	once   oneConnection

	services   services
	endpoints  *endpoints.Set
	workers    *workers.Set
	dispatcher *dispatch.Dispatcher
	acceptor   *accept.Acceptor

	loop     *loop
	phase    phases
	reloads  *reloading.Queue
	upgrades upgrades
	admin    *admin.Servers
	notify   *systemd.Notifier
	status   *statusQueries
}

// An origin is when the master was started and from what.
type origin struct {
	started time.Time
	file    string // that the configuration was read from, or ""
	// socketsPassed says that a service manager has passed sockets.
	socketsPassed bool
	ids           *service.IDs
}

// oneConnection is config.Run.Once, which no reload changes, and what has become
// of the one connection.
type oneConnection struct {
	enabled bool
	result  Result
	failure error
}

// A Result is how a master came to its end.
type Result struct {
	// ExitCode is what the program should exit with: 0 after a clean stop;
	// with config.Run.Once the worker's own code, or 128 and its signal.
	ExitCode int
}

// A Supervisor is the service manager that started this process, and what it
// passed. The zero Supervisor is none.
type Supervisor struct {
	Manager *systemd.Manager // the caller closes it after the master's end
	Sockets []systemd.Socket
}

// ErrStopped reports that a signal has ended a master before it served.
var ErrStopped = errors.New("stopped by a signal")

// New makes a master from a completed and validated configuration and binds its
// sockets, or adopts those that were passed: all of them, or on error none. The
// master keeps logger and owns the sockets. file is where the configuration came
// from and is read from again on SIGHUP; empty when it did not come from a file.
// Errors of the configuration are config.ConfigErrors. The error is ErrStopped
// when a signal ends the master before anything is bound.
func New(cfg config.Config, file string, by Supervisor, caught *signals.Queue, logger *logging.Logger) (*Master, error) {
	now := time.Now()
	from := origin{started: now, file: file, socketsPassed: systemd.Activated(by.Sockets), ids: service.NewIDs(now)}
	m, err := assemble(cfg, from, by.Manager, caught, logger, seams{})
	if err != nil {
		return nil, err
	}
	sockets, traces := systemd.CutUpgrade(by.Sockets)
	m.takeTraces(traces)
	if err := m.bind(cfg, sockets); err != nil {
		m.discard()
		return nil, err
	}
	return m, nil
}

// seams are the places where a test puts something else in: its zero value is
// the real thing.
type seams struct {
	dispatch dispatch.Config
	wait     workers.Wait
}

// assemble puts the rooms together. Nothing is bound or caught yet.
func assemble(cfg config.Config, from origin, manager *systemd.Manager, caught *signals.Queue, logger *logging.Logger, s seams) (*Master, error) {
	m := &Master{
		log:    logger,
		origin: from,
		once:   oneConnection{enabled: cfg.Once},
		loop:   newLoop(caught),
	}
	var err error
	if m.services, err = newServices(cfg, logger); err != nil {
		return nil, err
	}
	// With Once there is no next process that would take from the queue.
	m.endpoints = endpoints.NewSet(manager, manager != nil && !cfg.Once, logger.Logger)
	if m.workers, err = workers.NewSet(lifecycle{m}, logger.Logger, s.wait); err != nil {
		m.services.close()
		return nil, err
	}
	if s.dispatch.Starter == nil {
		s.dispatch.Spawner, err = spawner.New(spawner.Config{Log: logger.Logger, Stopping: m.loop.stopping})
		if err != nil {
			m.workers.Close()
			m.services.close()
			return nil, err
		}
		m.services.umaskErr = s.dispatch.Spawner.UmaskError()
		m.services.boxes = box.NewManager(s.dispatch.Spawner, logger.Logger)
		m.workers.UseHolders(m.services.boxes)
		m.workers.UseCells(m.services.boxes)
	}
	s.dispatch.OneConnection, s.dispatch.Stopping = cfg.Once, m.loop.stopping
	m.dispatcher = dispatch.New(s.dispatch)
	m.acceptor, err = accept.New(accept.Config{
		Dispatcher: m.dispatcher, IDs: from.ids, Redact: m.services.redact, Linger: m.workers.Linger(),
		OneConnection: cfg.Once, Stopping: m.loop.stopping,
	})
	if err != nil {
		m.discard()
		return nil, err
	}
	m.notify = systemd.NewNotifier(manager)
	m.admin = admin.New(m, logger.Logger)
	m.status = newStatusQueries(m)
	m.reloads, m.upgrades = reloading.New(from.file), upgrades{Record: upgrade.NewRecord(), rehearsal: &atomic.Int64{}}
	return m, nil
}

// bind binds what the configuration asks for. On error the caller discards the
// master.
func (m *Master) bind(cfg config.Config, sockets []systemd.Socket) error {
	if err := m.endpoints.Inherit(sockets, cfg.Services); err != nil {
		return config.ConfigErrors{{Text: err.Error()}}
	}
	// Names first: while a name server keeps the start waiting nothing is
	// bound, and a signal may simply end it.
	var c *compiled
	sig, err := m.loop.signals.During(func() (err error) {
		c, err = m.services.compile(&cfg, nil)
		return err
	})
	if sig != 0 {
		m.log.Info(logging.EventStopped, append(m.services.totals().Fields(), logging.Reason(unix.SignalName(sig)))...)
		return ErrStopped
	}
	if err != nil {
		return err
	}
	m.loop.catchChildren()
	m.endpoints.CloseUnusedStored(c.specs)
	_, err = m.installPatiently(c)
	return err
}

// installPatiently is install for when nothing is served yet that would have to wait
// meanwhile for another master (listen.ErrBusy).
func (m *Master) installPatiently(c *compiled) (ch change, err error) {
	for range busyTries {
		if ch, err = m.install(c); !errors.Is(err, listen.ErrBusy) {
			break
		}
		time.Sleep(busyPause)
	}
	return ch, err
}

// discard closes what a master has opened that does not start.
func (m *Master) discard() {
	m.loop.release()
	m.endpoints.Discard()
	if m.acceptor != nil {
		m.acceptor.Close()
	}
	m.services.closeBoxes()
	m.dispatcher.End()
	m.workers.Close()
	m.services.close()
}

package master

import (
	"time"

	"github.com/preforkd/preforkd/master/accept"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/systemd"
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
	redact     *redact.Policy

	loop    *loop
	phase   phases
	reloads reloads
	admin   admin
	notify  notifier
	status  *statusQueries
}

// An origin is when the master was started and from what.
type origin struct {
	started time.Time
	file    string // that the configuration was read from, or ""
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

// New makes a master from a completed and validated configuration and binds its
// sockets, or adopts those that were passed: all of them, or on error none. The
// master keeps logger and owns the sockets. file is where the configuration came
// from and is read from again on SIGHUP; empty when it did not come from a file.
// Errors of the configuration are config.Mistakes.
func New(cfg config.Config, file string, by Supervisor, logger *logging.Logger) (*Master, error) {
	m, err := assemble(cfg, file, by.Manager, logger, seams{})
	if err != nil {
		return nil, err
	}
	if err := m.bind(cfg, by.Sockets); err != nil {
		m.discard()
		return nil, err
	}
	return m, nil
}

// seams are the places where a test puts something else in: its zero value is
// the real thing.
type seams struct {
	dispatch dispatch.Config
	kernel   workers.Kernel
}

// assemble puts the rooms together. Nothing is bound or caught yet.
func assemble(cfg config.Config, file string, manager *systemd.Manager, logger *logging.Logger, s seams) (*Master, error) {
	m := &Master{
		log:    logger,
		origin: origin{started: time.Now(), file: file},
		once:   oneConnection{enabled: cfg.Once},
		redact: &redact.Policy{},
		loop:   newLoop(),
	}
	var err error
	if m.services, err = newServices(cfg, logger.Logger); err != nil {
		return nil, err
	}
	// With Once there is no next process that would take from the queue.
	m.endpoints = endpoints.NewSet(manager, manager != nil && !cfg.Once, logger.Logger)
	if m.workers, err = workers.NewSet(lifecycle{m}, logger.Logger, s.kernel); err != nil {
		m.services.close()
		return nil, err
	}
	s.dispatch.OneConnection, s.dispatch.Stopping = cfg.Once, m.loop.stopping
	m.dispatcher = dispatch.New(s.dispatch)
	m.acceptor = accept.New(accept.Config{
		Dispatcher: m.dispatcher, IDs: service.NewIDs(m.origin.started), Redact: m.redact,
		OneConnection: cfg.Once, Stopping: m.loop.stopping,
	})
	m.notify = notifier{manager: manager}
	m.admin = newAdmin(m, logger.Logger)
	m.status = newStatusQueries(m)
	m.reloads = newReloads()
	return m, nil
}

// bind binds what the configuration asks for. On error the caller discards the
// master.
func (m *Master) bind(cfg config.Config, sockets []systemd.Socket) error {
	if err := m.endpoints.Inherit(sockets, cfg.Services); err != nil {
		return config.Mistakes{{Text: err.Error()}}
	}
	// Names first: while a name server keeps the start waiting nothing is
	// bound, and a signal may simply end it.
	c, err := m.services.compile(&cfg)
	if err != nil {
		return err
	}
	m.loop.catchSignals()
	m.endpoints.CloseUnusedStored(c.specs)
	_, err = m.install(c)
	return err
}

// discard closes what a master has opened that does not start.
func (m *Master) discard() {
	m.loop.releaseSignals()
	m.endpoints.Discard()
	m.workers.Close()
	m.services.close()
}

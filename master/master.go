package master

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// A Master holds the listeners and owns the workers. New binds, Run serves.
type Master struct {
	cfg      config.Config
	log      *zap.Logger
	services []*service
	null     *os.File // /dev/null, the standard input of workers
	ids      idSource

	// closing is closed when accepting is to end.
	closing chan struct{}
	// accepting counts the accept goroutines.
	accepting sync.WaitGroup
	// spawning counts the spawns that have begun and whose outcome the loop
	// has not seen yet.
	spawning atomic.Int64
	// spawns carries the outcomes from the accept goroutines to the loop.
	spawns chan spawn

	// The loop owns all that follows.

	table   *table
	stop    stopState
	message [ipc.MaxMessage]byte // where messages are read into
	// result and failure are what Run returns.
	result  Result
	failure error
}

// A spawn is the outcome of one: a worker with its child, or an error.
type spawn struct {
	worker *worker
	err    error
}

// A Result is how a master came to its end.
type Result struct {
	// ExitCode is what the program should exit with: 0 after a clean stop;
	// with config.Config.Once the worker's own code, or 128 and its signal.
	ExitCode int
}

// New makes a master from a completed and validated configuration and binds
// its sockets: all of them, or on error none. The master keeps log.
func New(cfg config.Config, log *zap.Logger) (*Master, error) {
	m := &Master{
		cfg:     cfg,
		log:     log,
		closing: make(chan struct{}),
		spawns:  make(chan spawn, 64), // lets accept goroutines run ahead of the loop a little
		table:   newTable(),
	}
	m.ids.init(time.Now())
	if err := m.open(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// open binds what the configuration asks for. On error the caller closes what
// was opened before it.
func (m *Master) open() error {
	commands, err := m.cfg.Commands()
	if err != nil {
		return err
	}
	if m.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	for i, configured := range m.cfg.Services {
		s := &service{
			Service: configured,
			command: process.Command{
				Path:    commands[i].Path,
				Args:    commands[i].Args,
				Control: configured.Handoff == config.HandoffWorker,
				Null:    m.null,
				Stderr:  os.Stderr,
			},
			env:  baseEnvironment(configured.Name),
			gate: admit.NewGate(configured.MaxConnections),
			log:  m.log.With(logging.Service(configured.Name)),
		}
		m.services = append(m.services, s)
		for _, address := range configured.Listen {
			listeners, err := listen.Open(address)
			if err != nil {
				return fmt.Errorf("bind service %s: %w", s.Name, err)
			}
			s.listeners = append(s.listeners, listeners...)
		}
	}
	return nil
}

// close closes what open has opened.
func (m *Master) close() {
	for _, s := range m.services {
		listen.CloseAll(s.listeners)
	}
	if m.null != nil {
		m.null.Close()
	}
}

// startAccepting starts the accept goroutines: as many for each listener as
// can spawn at the same time, and at least two, so that a program that is slow
// to start leaves one to accept.
func (m *Master) startAccepting() {
	n := max(2, runtime.GOMAXPROCS(0))
	if m.cfg.Once {
		n = 1
	}
	for _, s := range m.services {
		for _, l := range s.listeners {
			s.log.Info(logging.EventListening, logging.Local(l.Local()))
			for range n {
				m.accepting.Go(func() { m.accept(s, l) })
			}
		}
	}
}

// stopAccepting closes every listener. It may be called more than once.
func (m *Master) stopAccepting() {
	select {
	case <-m.closing:
		return
	default:
	}
	close(m.closing)
	for _, s := range m.services {
		for _, l := range s.listeners {
			if err := l.Close(); err != nil {
				s.log.Warn("close listener", logging.Local(l.Local()), logging.Error(err))
			}
		}
	}
}

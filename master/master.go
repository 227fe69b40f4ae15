package master

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

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
	channels *channels

	// signals carries what is told to the master, and children that one of them
	// has ended. Both are caught before anything is bound, so that there is
	// always somebody to remove what was bound.
	signals  chan os.Signal
	children chan os.Signal

	// closing is closed when accepting is to end.
	closing chan struct{}
	// accepting counts the goroutines that spawn: those that accept, and
	// those that keep spares.
	accepting sync.WaitGroup
	// hunger is held by a connection that waits for descriptors.
	hunger sync.Mutex
	// spawning counts the spawns that have begun and whose outcome the loop
	// has not seen yet.
	spawning atomic.Int64
	// background runs what would keep the loop waiting; a field so that tests
	// can choose when.
	background func(func())
	// spawns carries the outcomes from the accept goroutines to the loop.
	spawns *outcomes

	// The loop owns all that follows.

	table   *table
	stop    stopState
	heardOf []spawn              // where outcomes are taken into
	message [ipc.MaxMessage]byte // where messages are read into
	// result and failure are what Run returns.
	result  Result
	failure error
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
		signals: make(chan os.Signal, 16),
		// One place is enough: a signal says that there is something to reap,
		// and one that is not read yet says it for all that ended since.
		children: make(chan os.Signal, 1),
		closing:  make(chan struct{}),
		spawns:   newOutcomes(),
		table:    newTable(),

		background: func(f func()) { go f() },
	}
	m.ids.init(time.Now())
	if err := m.open(); err != nil {
		m.close()
		signal.Stop(m.signals)
		signal.Stop(m.children)
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
	if m.channels, err = newChannels(); err != nil {
		return err
	}
	// With Once all services share one slot, which is never free again. So it is
	// the slots that keep a second client waiting, however many listeners there
	// are and however late the loop hears of the first.
	once := admit.NewGate(1)
	// Names first: while a name server keeps the start waiting nothing is
	// bound, and a signal may simply end it.
	addresses := make([][]config.Address, len(m.cfg.Services))
	for i, configured := range m.cfg.Services {
		for _, address := range configured.Listen {
			resolved, err := listen.Resolve(address)
			if err != nil {
				return fmt.Errorf("bind service %s: listen %v: %w", configured.Name, address, err)
			}
			addresses[i] = append(addresses[i], resolved...)
		}
	}
	signal.Notify(m.signals, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1)
	signal.Notify(m.children, unix.SIGCHLD)
	for i, configured := range m.cfg.Services {
		gate := once
		if m.cfg.Once {
			// A single connection has no use for spares, and a debugger none
			// for workers that it did not ask for.
			configured.MinSpares, configured.MaxSpares, configured.ConnectionsPerWorker = 0, 0, 1
		} else {
			gate = admit.NewGate(configured.MaxConnections)
		}
		s := &service{
			Service: configured,
			command: m.command(commands[i].Worker),
			spare:   m.command(commands[i].Spare),
			env:     baseEnvironment(configured.Name),
			gate:    gate,
			pool:    newPool(configured.MinSpares, configured.MaxSpares),
			log:     m.log.With(logging.Service(configured.Name)),
		}
		s.start = s.spawn
		s.command.Control = configured.Handoff != config.HandoffStdio
		s.spare.Control = true
		m.services = append(m.services, s)
		for _, address := range addresses[i] {
			listeners, err := listen.Open(address)
			if err != nil {
				return fmt.Errorf("bind service %s: %w", s.Name, err)
			}
			s.listeners = append(s.listeners, listeners...)
		}
	}
	return nil
}

// command returns what starts a configured command.
func (m *Master) command(c config.Command) process.Command {
	return process.Command{Path: c.Path, Args: c.Args, Null: m.null, Stderr: os.Stderr}
}

// close closes what open has opened.
func (m *Master) close() {
	for _, s := range m.services {
		listen.CloseAll(s.listeners)
	}
	if m.channels != nil {
		m.channels.close()
	}
	if m.null != nil {
		m.null.Close()
	}
}

// startAccepting starts the accept goroutines: as many for each listener as
// can spawn at the same time, and at least two, so that a program that is slow
// to start leaves one to accept.
func (m *Master) startAccepting() {
	n := m.spawners()
	process.WarmThreads(spareThreads + runtime.GOMAXPROCS(0) + n*m.listeners())
	for _, s := range m.services {
		for _, l := range s.listeners {
			s.log.Info(logging.EventListening, logging.Local(l.Local()))
			for range n {
				m.accepting.Go(func() { m.accept(s, l) })
			}
		}
		if s.MaxSpares > 0 {
			m.accepting.Go(func() { m.keepSpares(s) })
		}
	}
}

// spawners returns how many goroutines accept on each listener.
func (m *Master) spawners() int {
	if m.cfg.Once {
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0))
}

// spareThreads is what may wait in a system call beside those that run and
// those that spawn: the log, the channels, the removal of a socket, and the
// runtime's own.
const spareThreads = 8

// listeners returns how many listeners there are.
func (m *Master) listeners() int {
	n := 0
	for _, s := range m.services {
		n += len(s.listeners)
	}
	return n
}

// isClosing reports whether stopAccepting was called.
func (m *Master) isClosing() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

// stopAccepting closes every listener and retires every spare. It may be called more than once.
func (m *Master) stopAccepting() {
	if m.isClosing() {
		return
	}
	close(m.closing)
	now := time.Now()
	for _, s := range m.services {
		s.pool.close(now)
		for _, l := range s.listeners {
			if err := l.Close(); err != nil {
				s.log.Warn("close listener", logging.Local(l.Local()), logging.Error(err))
			}
		}
	}
}

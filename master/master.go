package master

import (
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/metrics"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/systemd"
)

// A Master holds the listeners and owns the workers. New binds, Run serves.
type Master struct {
	once     bool // as config.Run has it, which no reload changes
	log      *zap.Logger
	logger   *logging.Logger // that log is of
	started  time.Time
	file     string   // that the configuration was read from, or ""
	null     *os.File // /dev/null, the standard input of workers
	manager  *systemd.Manager
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

	// asked carries what others want the loop to do; over is closed when it
	// does nothing any more. looks is how others see what the loop knows.
	asked chan func()
	over  chan struct{}
	looks shared[control.Status]
	// summaries shares those without the connections.
	summaries shared[control.Status]

	// reloads carries configurations that were read again to the loop.
	reloads chan reloaded
	// privacy is how much of peers is told.
	privacy privacy
	// farewells ends refused connections.
	farewells farewells

	// The loop owns all that follows.

	cfg         config.Config // in force
	services    []*service
	books       map[string]*books      // by name, of the services that there are and were
	past        sums                   // of those whose books are closed
	reloading   bool                   // a configuration is being read
	reloadAgain bool                   // and is to be once more
	waiting     []chan<- reloadOutcome // for what becomes of the configuration being read
	waitingNext []chan<- reloadOutcome // for the one after it
	lateDrains  []lateDrain            // of services, since the reload was asked for
	control     controlSocket
	scrape      scrape
	sweeping    *time.Ticker
	handed      handed
	unsettled   bool // the manager may still have sockets that unstore has taken back
	table       *table
	reaper      reaper
	stowage     stowage
	workers     uint64 // that were started and registered
	stop        stopState
	beat        <-chan time.Time     // when the manager is to hear of the master; nil: never
	toldStatus  string               // what the manager heard last
	notReloaded string               // why the last reload has changed nothing, or ""
	heardOf     []spawn              // where outcomes are taken into
	message     [ipc.MaxMessage]byte // where messages are read into
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

// A Supervisor is the service manager that started this process, and what it
// passed. The zero Supervisor is none.
type Supervisor struct {
	Manager *systemd.Manager // the caller closes it after the master's end
	Sockets []systemd.Socket
}

// New makes a master from a completed and validated configuration and binds
// its sockets, or adopts those that were passed: all of them, or on error none.
// The master keeps logger and owns the sockets. file is where the configuration
// came from and is read from again on SIGHUP; empty when it did not come from a
// file. Errors of the configuration are config.Mistakes.
func New(cfg config.Config, file string, by Supervisor, logger *logging.Logger) (*Master, error) {
	m := &Master{
		once:    cfg.Once,
		cfg:     cfg,
		file:    file,
		books:   make(map[string]*books),
		reloads: make(chan reloaded),
		log:     logger.Logger,
		logger:  logger,
		manager: by.Manager,
		started: time.Now(),
		asked:   make(chan func()),
		over:    make(chan struct{}),
		signals: make(chan os.Signal, 16),
		// One place is enough: a signal says that there is something to reap,
		// and one that is not read yet says it for all that ended since.
		children: make(chan os.Signal, 1),
		closing:  make(chan struct{}),
		spawns:   newOutcomes(),
		table:    newTable(),

		background: func(f func()) { go f() },
	}
	m.looks = shared[control.Status]{find: m.look, pause: lookPause, limit: lookLimit}
	m.summaries = shared[control.Status]{find: m.lookAtServices, pause: lookPause, limit: lookLimit}
	m.scrape.handler = metrics.Handler(m)
	m.privacy.set(cfg.LogPeer)
	m.ids.init(m.started)
	if err := m.open(by.Sockets); err != nil {
		m.close()
		signal.Stop(m.signals)
		signal.Stop(m.children)
		return nil, err
	}
	return m, nil
}

// open binds what the configuration asks for. On error the caller closes what
// was opened before it.
func (m *Master) open(sockets []systemd.Socket) error {
	err := m.handed.take(sockets, &m.cfg)
	if err != nil {
		return config.Mistakes{{Text: err.Error()}}
	}
	// For writing, too: it may be a worker's stderr.
	if m.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return err
	}
	if m.channels, err = newChannels(); err != nil {
		return err
	}
	services, _, err := m.newServices(&m.cfg)
	if err != nil {
		return err
	}
	// Names first: while a name server keeps the start waiting nothing is
	// bound, and a signal may simply end it.
	if err := resolve(&m.cfg); err != nil {
		return err
	}
	signal.Notify(m.signals, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1)
	signal.Notify(m.children, unix.SIGCHLD)
	m.dropStored(services)
	listeners, _, err := m.bind(services)
	if err != nil {
		return err
	}
	m.services = services
	for _, s := range services {
		m.books[s.Name] = s.books
		s.listeners = listeners[s]
		for _, l := range s.listeners {
			l.service.Store(s)
		}
	}
	scraped, err := m.openMetrics(m.cfg.Metrics)
	if err != nil {
		return err
	}
	server, socketFile, missing, err := m.openControl(&m.cfg)
	if err != nil {
		if scraped != nil {
			scraped.Close()
		}
		return err
	}
	m.useControl(server, socketFile, missing)
	m.useMetrics(scraped, m.cfg.Metrics)
	return nil
}

// close closes what open has opened.
func (m *Master) close() {
	for _, s := range m.services {
		for _, l := range s.listeners {
			l.CloseStored()
		}
	}
	m.handed.close()
	if m.channels != nil {
		m.channels.close()
	}
	if m.null != nil {
		m.null.Close()
	}
}

// startAccepting starts the goroutines that accept and those that keep spares.
func (m *Master) startAccepting() {
	process.WarmThreads(spareThreads + runtime.GOMAXPROCS(0) + m.spawners()*m.listeners())
	for _, s := range m.services {
		for _, l := range s.listeners {
			m.startListener(l)
		}
		m.startSpares(s)
	}
}

// startListener starts accepting from a listener.
func (m *Master) startListener(l *listener) {
	l.service.Load().log.Info(logging.EventListening, logging.Local(l.Local()), logging.From(l.origin))
	for range m.spawners() {
		m.accepting.Go(func() { m.accept(l) })
	}
}

// startSpares starts keeping spares for a service that wants some.
func (m *Master) startSpares(s *service) {
	if s.MaxSpares > 0 {
		m.accepting.Go(func() { m.keepSpares(s) })
	}
}

// closeListener ends accepting from a listener. With one that is stored it is
// not the end of the socket, nor of its file.
func (m *Master) closeListener(l *listener) {
	close(l.gone)
	end := l.Close
	if l.stored {
		end = l.CloseStored
	}
	if err := end(); err != nil {
		l.service.Load().log.Warn("close listener", logging.Local(l.Local()), logging.Error(err))
	}
}

// spawners returns how many goroutines accept on each listener: as many as can
// spawn at the same time, and at least two, so that a program that is slow to
// start leaves one to accept.
func (m *Master) spawners() int {
	if m.once {
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0))
}

// spareThreads is what may wait in a system call beside those that run and
// those that spawn: the log, the channels, the attic, the removal of a socket, a
// look at /proc, and the runtime's own.
const spareThreads = 10

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
			m.closeListener(l)
		}
	}
	for _, b := range m.books {
		b.pending.close()
	}
}

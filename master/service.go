package master

import (
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// A service is a configured service at work: its sockets, its slots, and what
// it starts. A reload that changes its configuration makes another one of it,
// with the same books; workers and connections stay with the one that they
// began with.
type service struct {
	config.Service
	*books
	command   process.Command // of a worker for a connection
	spare     process.Command // of a worker ahead of its connection
	rules     []*rule         // what the rules change, in their order
	policy    admit.Policy
	proxies   *admit.Peers[struct{}] // whose PROXY header is believed
	options   listen.Options
	env       []string // what every worker of the service sees
	pool      *pool
	listeners []*listener
	log       *zap.Logger

	// spawn spawns a worker for a connection; a field so that tests can play
	// one. On error the worker has no child.
	spawn func(c *connection) (*worker, error)

	drained          bool // the loop's: its listeners and its pool are closed until a reload
	warnedUnconfined bool // the loop's: that workers are not fully confined has been said
}

// A rule is what an address rule changes for its connections beyond their
// limits.
type rule struct {
	config.Rule
	command *process.Command // nil: the service's
	env     []string         // in place of the service's; nil: the service's
}

// becomesProgram reports whether a spare of the service turns into a program
// that is not built on the SDK.
func (s *service) becomesProgram() bool { return s.Handoff != config.HandoffWorker }

// start gives a connection that has its slot to a spare or else to a new worker.
// It returns the error of the spawn.
func (m *Master) start(c *connection) error {
	if !c.needsItsOwn() {
		if w := c.service.pool.handOver(c, time.Now()); w != nil {
			return nil
		}
	}
	// Counted before the child can exist: the loop keeps the exits of unknown
	// children for as long as this is not zero.
	m.spawning.Add(1)
	w, err := m.startPatiently(c)
	c.logAccepted(w.child)
	m.spawns.add(spawn{w, err, time.Since(c.accepted)}, err != nil || w.watched || m.once || m.isClosing())
	return err
}

// startPatiently spawns a worker for a connection. Where descriptors are short
// it tries again until there are some: the client is better off waiting, as it
// would in the kernel's queue. Nobody accepts meanwhile, or younger connections
// would take what comes free and this one might wait for ever.
func (m *Master) startPatiently(c *connection) (*worker, error) {
	w, err := c.service.spawn(c)
	if !isShortOfDescriptors(err) {
		return w, err
	}
	m.hunger.Lock()
	defer m.hunger.Unlock()
	c.service.log.Warn("spawn delayed", logging.Conn(c.id), c.peer(), logging.Error(err))
	for pause := (backoff{}); isShortOfDescriptors(err) && !m.isClosing(); {
		c.service.short()
		m.wait(pause.next())
		w, err = c.service.spawn(c)
	}
	return w, err
}

func isShortOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// again gives a connection to another worker when a spare has died without
// taking it. It runs in a goroutine of its own; m.spawning counts it already.
func (m *Master) again(c *connection) {
	if w := c.service.pool.handOver(c, time.Now()); w != nil {
		m.spawns.add(spawn{}, true)
		return
	}
	begun := time.Now()
	w, err := m.startPatiently(c)
	m.spawns.add(spawn{w, err, time.Since(begun)}, true)
}

// newWorker returns a worker that is to be spawned for a connection.
func (s *service) newWorker(c *connection) *worker {
	return &worker{
		service: s,
		watched: s.ConnectionsPerWorker > 1 && !c.needsItsOwn(),
		state:   serving,
		since:   c.accepted,
		conn:    c,
		served:  1,
	}
}

// spawnWorker spawns a worker for a connection.
func (s *service) spawnWorker(c *connection) (*worker, error) {
	w := s.newWorker(c)
	command := *c.command()
	var message []byte
	if command.Control {
		var err error
		if message, err = c.assignment(w.reusable(), false); err != nil {
			return w, err
		}
	}
	return w, w.spawn(command, c.file, c.environment(), message)
}

// spawn gives a worker its process, and a stderr that leads to the log if the
// service wants that.
func (w *worker) spawn(command process.Command, conn *os.File, env []string, message []byte) error {
	s := w.service
	if s.Stderr == config.StderrLog {
		output, end, err := newStderrLog(s.log)
		if err != nil {
			return err
		}
		defer end.Close()
		command.Stderr, w.stderr = end, output
		if w.conn != nil {
			output.serves(w.conn.id)
		}
	}
	child, err := command.Start(conn, env, message)
	if w.stderr != nil {
		if err == nil {
			w.stderr.pid.Store(int64(child.Pid))
		}
		go w.stderr.run()
		if err != nil {
			w.stderr.close()
			w.stderr = nil
		}
	}
	w.child = child
	return err
}

// logAccepted says, once, that a connection has come and, unless there is none,
// which worker has it.
func (c *connection) logAccepted(child *process.Child) {
	if c.announced {
		return
	}
	c.announced = true
	pid := zap.Skip()
	if child != nil {
		pid = logging.PID(child.Pid)
	}
	c.service.log.Info(logging.EventAccepted, logging.Conn(c.id), c.peer(), logging.Local(c.local), c.privacy.via(c.conn), pid)
}

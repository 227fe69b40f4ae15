package master

import (
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// Prefix lengths that make up a source, in bits: a single IPv4 address, and
// the IPv6 subnet that a host is usually given.
const (
	sourcePrefixV4 = 32
	sourcePrefixV6 = 64
)

// A service is a configured service at work: its sockets, its slots, and what
// it starts. Its accept goroutines run accept.
type service struct {
	config.Service
	command   process.Command // of a worker for a connection
	spare     process.Command // of a worker ahead of its connection
	env       []string        // what every worker of the service sees
	gate      *admit.Gate
	pool      *pool
	listeners []*listen.Listener
	log       *zap.Logger

	// start spawns a worker for a connection; a field so that tests can play
	// one. On error the worker has no child.
	start func(c *connection) (*worker, error)

	accepted atomic.Uint64 // connections taken from the kernel

	// The master's loop owns what follows.

	counts           counts
	warnedUnconfined bool // that workers are not fully confined has been said
}

// counts is what became of a service's connections. At any moment
// accepted = failed + reaped + live.
type counts struct {
	failed uint64 // closed because no worker could be started
	reaped uint64 // served by a worker that has ended, or has gone on to the next
}

// becomesProgram reports whether a spare of the service turns into a program
// that is not built on the SDK.
func (s *service) becomesProgram() bool { return s.Handoff != config.HandoffWorker }

// accept takes connections from one listener and spawns their workers, until
// the listener is closed. Several run on each listener: while one spawns,
// another accepts.
func (m *Master) accept(s *service, l *listen.Listener) {
	var pause backoff
	for {
		// Wait while a connection waits for descriptors.
		m.hunger.Lock()
		//lint:ignore SA2001 the lock is all that is wanted
		m.hunger.Unlock()
		conn, err := l.Accept(s.gate)
		switch {
		case err == nil:
			err = m.serve(s, conn)
			if err == nil || !isExhaustion(err) {
				m.recovered(s, l, &pause)
				continue
			}
			// The next connection would fare no better. It waits in the
			// kernel's queue, where this one would have been safer too.
			m.wait(pause.next())
		case errors.Is(err, listen.ErrClosed):
			return
		case errors.Is(err, listen.ErrFull):
			select {
			case <-s.gate.Freed():
			case <-m.closing:
				return
			}
		case listen.Classify(err) == listen.Harmless:
			s.log.Debug("accept failed", logging.Local(l.Local()), logging.Error(err))
		default:
			if pause.delay == 0 {
				s.log.Warn("accept failed", logging.Local(l.Local()), logging.Error(err))
			}
			m.wait(pause.next())
		}
	}
}

// recovered says so when accepting works again after it did not.
func (m *Master) recovered(s *service, l *listen.Listener, pause *backoff) {
	if pause.reset() {
		s.log.Info("accept recovered", logging.Local(l.Local()))
	}
}

// wait waits for a pause to pass or for the listeners to close.
func (m *Master) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.closing:
	}
}

// isExhaustion reports whether a spawn failed for want of something that other
// processes may give back: processes, memory or descriptors.
func isExhaustion(err error) bool {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// serve gives a connection, which has a reserved slot, to a spare or else to a
// new worker. It returns the error of the spawn. Either way the descriptor is
// taken care of and the slot is the loop's to give back.
func (m *Master) serve(s *service, conn *listen.Conn) error {
	c := m.newConnection(s, conn)
	s.accepted.Add(1)
	if w := s.pool.handOver(c, time.Now()); w != nil {
		return nil
	}
	// Counted before the child can exist: the loop keeps the exits of unknown
	// children for as long as this is not zero.
	m.spawning.Add(1)
	w, err := m.startPatiently(c)
	c.logAccepted(w.child)
	m.spawns.add(spawn{w, err}, err != nil || w.watched || m.cfg.Once || m.isClosing())
	return err
}

// startPatiently spawns a worker for a connection. Where descriptors are short
// it tries again until there are some: the client is better off waiting, as it
// would in the kernel's queue. Nobody accepts meanwhile, or younger connections
// would take what comes free and this one might wait for ever.
func (m *Master) startPatiently(c *connection) (*worker, error) {
	w, err := c.service.start(c)
	if !isShortOfDescriptors(err) {
		return w, err
	}
	m.hunger.Lock()
	defer m.hunger.Unlock()
	c.service.log.Warn("spawn delayed", logging.Conn(c.id), logging.Peer(c.peer), logging.Error(err))
	for pause := (backoff{}); isShortOfDescriptors(err) && !m.isClosing(); {
		m.wait(pause.next())
		w, err = c.service.start(c)
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
	w, err := m.startPatiently(c)
	m.spawns.add(spawn{w, err}, true)
}

// newWorker returns a worker that is to be spawned for a connection.
func (s *service) newWorker(c *connection) *worker {
	return &worker{
		service: s,
		watched: s.ConnectionsPerWorker > 1,
		state:   serving,
		since:   c.accepted,
		conn:    c,
		served:  1,
	}
}

// spawn spawns a worker for a connection.
func (s *service) spawn(c *connection) (*worker, error) {
	w := s.newWorker(c)
	var message []byte
	if s.command.Control {
		var err error
		if message, err = c.assignment(w.reusable(), false); err != nil {
			return w, err
		}
	}
	var err error
	w.child, err = s.command.Start(c.file, c.environment(), message)
	return w, err
}

// logAccepted says, once, that a connection has come and, unless there is none,
// which worker has it.
func (c *connection) logAccepted(child *process.Child) {
	if c.announced {
		return
	}
	c.announced = true
	fields := []zap.Field{logging.Conn(c.id), logging.Peer(c.peer), logging.Local(c.local)}
	if child != nil {
		fields = append(fields, logging.PID(child.Pid))
	}
	c.service.log.Info(logging.EventAccepted, fields...)
}

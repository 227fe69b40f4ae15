package master

import (
	"errors"
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
	command   process.Command
	env       []string // what every worker of the service sees
	gate      *admit.Gate
	listeners []*listen.Listener
	log       *zap.Logger

	// counts belongs to the master's loop.
	counts counts
}

// counts is what became of a service's connections. At any moment
// accepted = failed + reaped + live.
type counts struct {
	accepted uint64 // taken from the kernel
	failed   uint64 // closed because no worker could be started
	reaped   uint64 // served by a worker that has ended
}

// accept takes connections from one listener and spawns their workers, until
// the listener is closed. Several run on each listener: while one spawns,
// another accepts.
func (m *Master) accept(s *service, l *listen.Listener) {
	var pause backoff
	for {
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

// serve hands a connection, which has a reserved slot, to a new worker and
// tells the loop what came of it. It returns the error of the spawn. Either
// way the descriptor is closed and the slot is the loop's to give back.
func (m *Master) serve(s *service, conn *listen.Conn) error {
	w := &worker{
		service:  s,
		id:       m.ids.next(),
		peer:     conn.PeerName(),
		local:    conn.LocalName(),
		accepted: time.Now(),
	}
	if !conn.IsUnix() {
		w.source = admit.SourceOf(conn.Peer.Addr(), sourcePrefixV4, sourcePrefixV6)
	}
	live := s.gate.Hold(w.source)

	// Counted before the child can exist: the loop keeps the exits of unknown
	// children for as long as this is not zero.
	m.spawning.Add(1)
	child, err := s.start(conn, w, live)
	fields := []zap.Field{logging.Conn(w.id), logging.Peer(w.peer), logging.Local(w.local)}
	if err == nil {
		fields = append(fields, logging.PID(child.Pid))
	}
	s.log.Info(logging.EventAccepted, fields...)
	w.child = child
	m.spawns <- spawn{w, err}
	return err
}

// start spawns the worker. It takes ownership of the connection's descriptor.
func (s *service) start(conn *listen.Conn, w *worker, live int) (*process.Child, error) {
	var message []byte
	if s.command.Control {
		assignment := ipc.Assignment{Connection: w.id, Service: s.Name, Peer: w.peer, Local: w.local}
		if s.QuitWord != "" {
			assignment.Settings = []ipc.Setting{{Key: ipc.SettingQuitWord, Value: s.QuitWord}}
		}
		var err error
		if message, err = assignment.Append(nil); err != nil {
			unix.Close(conn.FD)
			return nil, err
		}
	}
	return s.command.Start(conn.FD, environment(s.env, conn, w.id, live), message)
}

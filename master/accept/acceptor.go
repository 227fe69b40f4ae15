package accept

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
)

// A Dispatcher takes admitted connections. *dispatch.Dispatcher is one.
type Dispatcher interface {
	// Dispatch gives a connection to a worker. The connection, its slot and
	// its account are not the caller's any more, whatever the error says.
	Dispatch(*service.Connection) error
	// AwaitDescriptors waits while a connection waits for descriptors.
	AwaitDescriptors()
}

// A Config is what an Acceptor needs.
type Config struct {
	Dispatcher Dispatcher
	IDs        *service.IDs
	Redact     *redact.Policy
	// OneConnection says that a single connection is to be served.
	OneConnection bool
	// Stopping is closed when the master stops accepting.
	Stopping <-chan struct{}
}

// An Acceptor accepts connections. The loop starts and stops it; everything else
// happens on goroutines of its own.
type Acceptor struct {
	cfg       Config
	goroutine sync.WaitGroup // those that accept or wait for a PROXY header
	queues    proxyQueues
	lingering lingeringRefusals
}

// New returns an acceptor without listeners.
func New(cfg Config) *Acceptor { return &Acceptor{cfg: cfg} }

// PerListener returns how many goroutines accept on each listener: as many as
// can start a process at the same time, and at least two, so that a program that
// is slow to start leaves one to accept.
func (a *Acceptor) PerListener() int {
	if a.cfg.OneConnection {
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0))
}

// Start accepts from a listener until it is closed.
func (a *Acceptor) Start(l *endpoints.Listener) {
	l.LogListening()
	shortage := &exhaustion{}
	for range a.PerListener() {
		a.goroutine.Go(func() { a.accept(l, shortage) })
	}
}

// Stop sends everybody away who waits for a PROXY header. The listeners are
// closed by their owner, and Config.Stopping by the master.
func (a *Acceptor) Stop() { a.queues.closeAll() }

// Wait waits until all listeners are closed and nobody accepts any more.
func (a *Acceptor) Wait() {
	<-a.cfg.Stopping // until then more listeners may come
	a.goroutine.Wait()
}

// Drain sends everybody away who waits for a PROXY header of a service.
func (a *Acceptor) Drain(s *service.Service) { a.queues.of(s).close() }

// Resume lets connections of a service wait for a PROXY header again.
func (a *Acceptor) Resume(s *service.Service) { a.queues.of(s).open() }

// Forget drops what is kept of a service that is no more.
func (a *Acceptor) Forget(s *service.Service) { a.queues.drop(s) }

// A slotReservation is one accept goroutine's right to a slot of the service
// that its listener accepts for when a connection is there.
type slotReservation struct {
	l    *endpoints.Listener
	spec *service.Spec
}

func (r *slotReservation) Reserve() bool {
	r.spec = r.l.Spec()
	return r.spec.Owner().Gate.Reserve()
}

func (r *slotReservation) Cancel() { r.spec.Owner().Gate.Cancel() }

// accept takes connections from one listener and has them served, until the
// listener is closed. Several run on each listener: while one starts a process,
// another accepts.
func (a *Acceptor) accept(l *endpoints.Listener, shortage *exhaustion) {
	slot := slotReservation{l, l.Spec()}
	for {
		a.cfg.Dispatcher.AwaitDescriptors()
		conn, err := l.Accept(&slot)
		s := slot.spec.Owner()
		switch {
		case err == nil:
			err = a.serve(slot.spec, conn)
			if err == nil || !dispatch.IsExhaustion(err) {
				if shortage.passed() {
					s.Log.Info("accept recovered", logging.Local(l.Local()))
				}
				continue
			}
			// The next connection would fare no better. It waits in the
			// kernel's queue, where this one would have been safer, too.
			s.Ledger.NoteShortage(time.Now())
			pause, _ := shortage.met(time.Now())
			a.wait(pause)
		case errors.Is(err, listen.ErrClosed):
			return
		case errors.Is(err, listen.ErrFull):
			select {
			case <-s.Gate.SlotFreed():
			case <-l.Closed():
				return
			}
		case listen.Classify(err) == listen.Harmless:
			s.Log.Debug("accept failed", logging.Local(l.Local()), logging.Error(err))
		default:
			pause, first := shortage.met(time.Now())
			if first {
				s.Log.Warn("accept failed", logging.Local(l.Local()), logging.Error(err))
			}
			s.Ledger.NoteShortage(time.Now())
			a.wait(pause)
		}
	}
}

// wait waits for a pause to pass or for the master to stop accepting.
func (a *Acceptor) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.cfg.Stopping:
	}
}

// peerOf returns who asks for a connection.
func peerOf(conn *listen.Conn) admit.Peer {
	if conn.IsUnix() {
		return admit.Peer{UID: conn.Credentials.Uid, GID: conn.Credentials.Gid}
	}
	return admit.Peer{Addr: conn.Peer.Addr()}
}

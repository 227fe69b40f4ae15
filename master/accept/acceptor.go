package accept

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/proxy"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
)

// A Dispatcher takes admitted connections. *dispatch.Dispatcher is one.
type Dispatcher interface {
	// Dispatch gives a connection to a worker. The connection, its slot and
	// its account are not the caller's any more, whatever the error says.
	Dispatch(*service.Connection) error
	// AwaitDescriptors waits while a connection waits for descriptors. It
	// reports whether it had to wait.
	AwaitDescriptors() bool
}

// A Config is what an Acceptor needs.
type Config struct {
	Dispatcher Dispatcher
	IDs        *service.IDs
	Redact     *redact.Policy
	// Linger closes refused connections that were sent a message.
	Linger *linger.Closer
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
	headers   *proxy.Budget // memory for PROXY headers that are incomplete
	watches   watches
	// suppressed has something when a service has a refusal that is not in the log.
	suppressed chan struct{}
}

// New returns an acceptor without listeners.
func New(cfg Config) *Acceptor {
	return &Acceptor{cfg: cfg, headers: proxy.NewBudget(maxHeaderMemory), suppressed: make(chan struct{}, 1)}
}

// Suppressed returns a channel that has something when a service has a refusal that
// the log does not tell. Its Refusals have to be asked from then on.
func (a *Acceptor) Suppressed() <-chan struct{} { return a.suppressed }

// perListener returns how many goroutines may accept on each listener: as many
// as can start a process at the same time, and at least two, so that a program
// that is slow to start leaves one to accept.
func (a *Acceptor) perListener() int {
	if a.cfg.OneConnection {
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0))
}

// Start accepts from a listener until it is closed.
func (a *Acceptor) Start(l *endpoints.Listener) {
	l.LogListening()
	a.startOne(l, &crew{limit: a.perListener(), size: 1})
}

// startOne starts a goroutine that was counted in the crew.
func (a *Acceptor) startOne(l *endpoints.Listener, c *crew) {
	a.goroutine.Go(func() { a.accept(l, c) })
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
// listener is closed or the others of its crew are enough.
func (a *Acceptor) accept(l *endpoints.Listener, crew *crew) {
	shortage := &crew.shortage
	slot := slotReservation{l, l.Spec()}
	for {
		if a.cfg.Dispatcher.AwaitDescriptors() {
			l.Delay(time.Now())
		}
		conn, err := l.Accept(&slot)
		s := slot.spec.Owner()
		switch {
		case err == nil:
			if crew.busy() {
				a.startOne(l, crew)
			}
			now := time.Now()
			err = a.serve(slot.spec, conn, now)
			if done := time.Now(); done.Sub(now) > slowService {
				l.Delay(done)
			}
			stay := crew.free()
			if err == nil || !dispatch.IsExhaustion(err) {
				if shortage.passed() {
					s.Log.Info("accept recovered", logging.Local(l.Local()))
				}
				if !stay {
					return
				}
				continue
			}
			// The next connection would fare no better. It waits in the
			// kernel's queue, where this one would have been safer, too.
			s.Ledger.NoteShortage(time.Now())
			pause, _ := shortage.met(time.Now())
			if !stay {
				return
			}
			a.wait(pause)
			l.Delay(time.Now())
		case errors.Is(err, listen.ErrClosed):
			return
		case errors.Is(err, listen.ErrFull):
			a.foundFull(s, func(w *watch) { w.listeners[l] = true })
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
			l.Delay(time.Now())
		}
	}
}

// slowService is how long a connection may keep an accept goroutine before those
// that wait behind it are asked whether they are still there. A start takes a few
// milliseconds at most, unless a disk or the machine is slow.
const slowService = 100 * time.Millisecond

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

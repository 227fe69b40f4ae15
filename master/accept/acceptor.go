package accept

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/epoll"
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
	crew      *crew
	set       *epoll.Set // of the listeners
	standby   *standby
	intakes   intakes
	queues    proxyQueues
	headers   *proxy.Budget // memory for PROXY headers that are incomplete
	watches   watches
	waiters   waiters
	restored  restored
	// suppressed has something when a service has a refusal that is not in the log.
	suppressed chan struct{}

	// Whoever leads the crew owns what follows.

	events  [1]unix.EpollEvent
	emptied int64 // when nobody waited at the listeners that are watched
	delayed int64 // when all connections last had to wait for long
}

// New returns an acceptor without listeners. The caller must call Wait, or Close if
// nothing was started.
func New(cfg Config) (*Acceptor, error) {
	set, err := epoll.New()
	if err != nil {
		return nil, fmt.Errorf("wait for connections: %w", err)
	}
	a := &Acceptor{cfg: cfg, set: set, headers: proxy.NewBudget(maxHeaderMemory), suppressed: make(chan struct{}, 1), waiters: newWaiters()}
	if a.standby, err = newStandby(set); err != nil {
		set.Close()
		return nil, err
	}
	a.crew = newCrew(func() { a.goroutine.Go(a.run) }, a.standby)
	return a, nil
}

// Close ends an acceptor that has not started to accept.
func (a *Acceptor) Close() {
	a.standby.close()
	a.set.Close()
}

// Suppressed returns a channel that has something when a service has a refusal that
// the log does not tell. Its Refusals have to be asked from then on.
func (a *Acceptor) Suppressed() <-chan struct{} { return a.suppressed }

// perListener returns how many goroutines may have a connection of one listener: as
// many as can start a process at the same time, and at least two, so that a program
// that is slow to start leaves one.
func (a *Acceptor) perListener() int {
	if a.cfg.OneConnection {
		return 1
	}
	return max(2, runtime.GOMAXPROCS(0))
}

// Start accepts from a listener until it is closed.
func (a *Acceptor) Start(l *endpoints.Listener) {
	l.LogListening()
	a.Continue(l)
}

// Continue accepts from a listener that another master has listened at before.
func (a *Acceptor) Continue(l *endpoints.Listener) {
	a.add(l)
	if a.crew.begin() {
		a.goroutine.Go(a.standBy)
	}
}

// standBy has somebody lead who is needed.
func (a *Acceptor) standBy() {
	for a.standby.wait() {
		a.crew.relieve()
	}
}

// add watches a listener until it is closed.
func (a *Acceptor) add(l *endpoints.Listener) {
	in := &intake{Listener: l, set: a.set, limit: a.perListener(), stopping: a.cfg.Stopping}
	a.restoreShortage(in)
	a.intakes.add(in)
	l.OnClose(func() { a.intakes.remove(in) })
	in.open()
}

// Stop sends everybody away who waits for a PROXY header. The listeners are
// closed by their owner, and Config.Stopping by the master.
func (a *Acceptor) Stop() { a.queues.closeAll() }

// Wait waits until all listeners are closed and nobody accepts any more.
func (a *Acceptor) Wait() {
	<-a.cfg.Stopping // until then more listeners may come
	a.crew.end()
	a.Close()
	a.goroutine.Wait()
}

// Drain sends everybody away who waits for a PROXY header of a service.
func (a *Acceptor) Drain(s *service.Service) { a.queues.of(s).close() }

// Resume lets connections of a service wait for a PROXY header again.
func (a *Acceptor) Resume(s *service.Service) { a.queues.open(s) }

// Forget drops what is kept of a service that is no more.
func (a *Acceptor) Forget(s *service.Service) { a.queues.drop(s) }

// A slotReservation is the right to a slot of the service that a listener accepts for
// when a connection is there.
type slotReservation struct {
	l    *endpoints.Listener
	spec *service.Spec
}

func (r *slotReservation) Reserve() bool {
	r.spec = r.l.Spec()
	return r.spec.Owner().Gate.Reserve()
}

func (r *slotReservation) Cancel() { r.spec.Owner().Gate.Cancel() }

// run is one goroutine of the crew, which leads first.
func (a *Acceptor) run() {
	var t turn
	for {
		in, e, ok := a.next()
		if !ok {
			return
		}
		if !a.crew.take(&t) {
			return
		}
		if c, ok := a.accept(in); ok {
			in.begin()
			a.crew.leave(&t, e.busy)
			c.queued = e.queued
			a.take(c, in)
			in.done()
		}
		if !a.crew.done(&t) {
			return
		}
	}
}

// An event says that a connection waits at a listener.
type event struct {
	queued bool // it may have waited for long in the kernel's queue
	busy   bool // nobody had to wait for it
}

// next waits for a connection at any of the listeners that may be taken. The caller leads.
// If it reports false, the caller leads no more: there is a pause, or there will be none.
func (a *Acceptor) next() (in *intake, e event, ok bool) {
	for {
		before := now()
		_, waited, err := a.set.Wait(a.events[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if a.crew.stepDown() {
				return nil, e, false
			}
			continue
		case err != nil: // closed
			a.crew.end()
			return nil, e, false
		}
		if waited {
			a.emptied = before
		}
		if in = a.intakes.of(a.events[0].Fd); in == nil || in.crowdedOut() {
			continue // closed meanwhile, or a connection for later
		}
		if a.cfg.Dispatcher.AwaitDescriptors() {
			a.delayed = now()
		}
		return in, event{queued: max(a.delayed, in.delayed.Load()) > a.emptied, busy: !waited}, true
	}
}

// An arrival is a connection that was just accepted with a reservation of its service's
// gate.
type arrival struct {
	spec   *service.Spec
	conn   *listen.Conn
	queued bool // it may have waited for long in the kernel's queue
}

// accept takes a connection. It does not wait, unless another process that has the
// listening socket, too, has made it blocking.
func (a *Acceptor) accept(in *intake) (c arrival, ok bool) {
	slot := slotReservation{l: in.Listener}
	conn, err := in.Accept(&slot)
	if err != nil {
		a.failed(in, slot.spec.Owner(), err)
		return c, false
	}
	return arrival{spec: slot.spec, conn: conn}, true
}

// failed takes in that a connection could not be accepted for a service.
func (a *Acceptor) failed(in *intake, s *service.Service, err error) {
	switch {
	case errors.Is(err, listen.ErrClosed), errors.Is(err, listen.ErrNone):
	case errors.Is(err, listen.ErrFull):
		a.foundFull(s, func(w *watch) { w.listeners[in.Listener] = true })
		in.hold()
		s.Gate.OnSlotFreed(in.release)
	case listen.Classify(err) == listen.Harmless:
		s.Log.Debug("accept failed", logging.Local(in.Local()), logging.Error(err))
	default:
		pause, first := in.shortage.met(time.Now())
		if first {
			s.Log.Warn("accept failed", logging.Local(in.Local()), logging.Error(err))
		}
		s.Ledger.NoteShortage(time.Now())
		in.holdFor(pause)
	}
}

// take has a connection served.
func (a *Acceptor) take(c arrival, in *intake) {
	s := c.spec.Owner()
	now := time.Now()
	err := a.serve(c, now)
	if time.Since(now) > slowService {
		in.delay()
	}
	if err != nil && dispatch.IsExhaustion(err) {
		// The next connection would fare no better. It waits in the
		// kernel's queue, where this one would have been safer, too.
		s.Ledger.NoteShortage(time.Now())
		pause, _ := in.shortage.met(time.Now())
		in.holdFor(pause)
		return
	}
	if in.shortage.passed() {
		s.Log.Info("accept recovered", logging.Local(in.Local()))
	}
}

// slowService is how long a connection may keep a goroutine before those that wait
// behind it are asked whether they are still there. A start takes a few milliseconds at
// most, unless a disk or the machine is slow.
const slowService = 100 * time.Millisecond

// peerOf returns who asks for a connection.
func peerOf(conn *listen.Conn) admit.Peer {
	if conn.IsUnix() {
		return admit.Peer{UID: conn.Credentials.Uid, GID: conn.Credentials.Gid}
	}
	return admit.Peer{Addr: conn.Peer.Addr()}
}

package master

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// A listener is a listening socket and the service that it accepts for, which a
// reload may change under its accept goroutines.
type listener struct {
	*listen.Listener
	place   place
	options listen.Options // the loop's
	service atomic.Pointer[service]
	gone    chan struct{} // closed when the listener is
	origin  string        // where the socket comes from, if the master has not bound it
	stored  bool          // it was left with the manager, for the next process; the loop's
}

// A place is what a listener was opened for: an address as it is configured. An
// address with port 0 is another one for each service, and each time that the
// service lists it. A socket that was passed has no address but its number
// among those of the service.
type place struct {
	address config.Address
	service string
	nth     int
	passed  bool
}

// A claim is one accept goroutine's reservation: of a slot of the service that
// the listener has at the moment at which a connection is there.
type claim struct {
	l *listener
	s *service
}

func (c *claim) Reserve() bool {
	c.s = c.l.service.Load()
	return c.s.gate.Reserve()
}

func (c *claim) Cancel() { c.s.gate.Cancel() }

// accept takes connections from one listener and spawns their workers, until
// the listener is closed. Several run on each listener: while one spawns,
// another accepts.
func (m *Master) accept(l *listener) {
	var pause backoff
	slot := claim{l, l.service.Load()}
	for {
		// Wait while a connection waits for descriptors.
		m.hunger.Lock()
		//lint:ignore SA2001 the lock is all that is wanted
		m.hunger.Unlock()
		conn, err := l.Accept(&slot)
		switch {
		case err == nil:
			err = m.serve(slot.s, conn)
			if err == nil || !isExhaustion(err) {
				m.recovered(slot.s, l, &pause)
				continue
			}
			// The next connection would fare no better. It waits in the
			// kernel's queue, where this one would have been safer too.
			slot.s.short()
			m.wait(pause.next())
		case errors.Is(err, listen.ErrClosed):
			return
		case errors.Is(err, listen.ErrFull):
			select {
			case <-slot.s.gate.Freed():
			case <-l.gone:
				return
			}
		case listen.Classify(err) == listen.Harmless:
			slot.s.log.Debug("accept failed", logging.Local(l.Local()), logging.Error(err))
		default:
			if pause.delay == 0 {
				slot.s.log.Warn("accept failed", logging.Local(l.Local()), logging.Error(err))
			}
			slot.s.short()
			m.wait(pause.next())
		}
	}
}

// short notes that accepting has to wait for resources.
func (b *books) short() { b.shortage.Store(time.Now().UnixNano()) }

// recovered says so when accepting works again after it did not.
func (m *Master) recovered(s *service, l *listener, pause *backoff) {
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

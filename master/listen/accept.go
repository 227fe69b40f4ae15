package listen

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrFull reports that a connection may be waiting, but no slot is free.
	ErrFull = errors.New("no free slot")
	// ErrClosed reports that the listener was closed.
	ErrClosed = errors.New("listener closed")
)

// Slots gives the right to take a connection from the kernel.
type Slots interface {
	Reserve() bool // reserves a slot, or returns false if none is free
	Cancel()       // gives back a reserved slot that was not used
}

// Accept waits for a connection, reserves a slot and accepts the connection.
// The caller then owns the descriptor and the slot.
//
// Accept reserves the slot before it accepts. A connection without a slot could
// only be closed, but a connection that stays in the kernel's queue is served
// later. Accept does not reserve a slot before a connection has come. Otherwise
// idle listeners would hold slots that busy ones need.
//
// The error is ErrFull when no slot is free, and ErrClosed after Close. Any
// other error is one of accept4(2), and Classify says what it means. Several
// goroutines may call Accept at once. One of them waits in the poller and the
// others wait for it, so a connection wakes exactly one.
func (l *Listener) Accept(slots Slots) (*Conn, error) {
	var (
		fd      int
		from    unix.Sockaddr
		delayed int64
		err     error
	)
	l.inUse.RLock()
	readErr := l.raw.Read(func(listener uintptr) (done bool) {
		if !slots.Reserve() {
			err = ErrFull
			return true
		}
		delayed = l.delayed.Load()
		for {
			// SOCK_NONBLOCK is missing on purpose. O_NONBLOCK belongs to the
			// open file description, which the worker will share, and programs
			// for inetd expect a blocking one.
			fd, from, err = unix.Accept4(int(listener), unix.SOCK_CLOEXEC)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			slots.Cancel()
		}
		if err == unix.EAGAIN && delayed != 0 {
			// The queue is empty: everybody who has waited was accepted. A
			// delay that has begun meanwhile stays.
			l.delayed.CompareAndSwap(delayed, 0)
		}
		return err != unix.EAGAIN
	})
	l.inUse.RUnlock()
	if err == ErrFull {
		l.Delay(time.Now())
	}
	switch {
	case readErr != nil && l.closed.Load():
		// A syscall.RawConn does not return os.ErrClosed, but an error of its
		// own.
		return nil, ErrClosed
	case readErr != nil:
		return nil, readErr
	case err != nil:
		return nil, err
	}
	conn, err := l.describe(fd, from)
	if err != nil {
		unix.Close(fd)
		slots.Cancel()
		return nil, err
	}
	conn.Queued = delayed != 0
	return conn, nil
}

// Delay notes that nobody has accepted connections for a time that matters to
// those who wait, until now. Conn.Queued says so of connections that come from the
// queue before it has been empty. Accept does the same when no slot is free.
func (l *Listener) Delay(now time.Time) { l.delayed.Store(now.UnixNano()) }

// A Class says what an error of Accept means for the listener.
type Class int

const (
	// Harmless is an error of one connection that has gone, or of the network.
	// The caller should accept again at once.
	Harmless Class = iota
	// Exhausted is a shortage of descriptors or memory. The caller should
	// accept again after a pause. The connection stays in the queue, so accept
	// without a pause would fail again and again.
	Exhausted
)

// Classify returns the class of an error of Accept other than ErrFull and
// ErrClosed. An unknown error is Exhausted, because a pause never does harm.
//
// accept(2) lists the network errors that Linux passes on from the new socket.
func Classify(err error) Class {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return Exhausted
	}
	switch errno {
	case unix.ECONNABORTED, unix.EPROTO, unix.EPERM, unix.ENETDOWN, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH,
		unix.ECONNRESET, unix.ENOTCONN, unix.ETIMEDOUT:
		return Harmless
	}
	return Exhausted
}

package listen

import (
	"errors"

	"golang.org/x/sys/unix"
)

var (
	// ErrFull reports that a connection may be waiting but there is no slot.
	ErrFull = errors.New("no free slot")
	// ErrClosed reports that the listener was closed.
	ErrClosed = errors.New("listener closed")
)

// Slots grants the right to take a connection from the kernel.
type Slots interface {
	Reserve() bool // takes a slot if one is free
	Cancel()       // gives a reserved slot back unused
}

// Accept waits for a connection and takes it together with a slot. The caller
// owns the connection's descriptor and the slot.
//
// The slot comes first. A connection that was accepted without one could only
// be closed, while one that stays in the kernel's queue is served later. And
// the slot is only taken when a connection is there to be had, or idle
// listeners would hold the slots that busy ones need.
//
// It fails with ErrFull when there is no slot, with ErrClosed after Close, and
// with the error of accept4(2) otherwise; Classify tells what to do about that.
// Several goroutines may call it at once; one of them waits in the poller, the
// others behind it, so that a connection wakes exactly one.
func (l *Listener) Accept(slots Slots) (*Conn, error) {
	var (
		fd   int
		from unix.Sockaddr
		err  error
	)
	readErr := l.raw.Read(func(listener uintptr) (done bool) {
		if !slots.Reserve() {
			err = ErrFull
			return true
		}
		for {
			// No SOCK_NONBLOCK: O_NONBLOCK belongs to the description that
			// the worker will share, and inetd-style programs expect a
			// blocking one.
			fd, from, err = unix.Accept4(int(listener), unix.SOCK_CLOEXEC)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			slots.Cancel()
		}
		return err != unix.EAGAIN
	})
	switch {
	case readErr != nil && l.closed.Load():
		// A raw connection does not say os.ErrClosed, only its own error.
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
	return conn, nil
}

// A Class says what an accept error means for the listener.
type Class int

const (
	// Harmless errors belong to one connection that is already gone, or to
	// the network: accept again at once.
	Harmless Class = iota
	// Exhausted is a lack of descriptors or memory: accept again after a
	// pause, because the connection stays in the queue and accept would
	// return at once for ever.
	Exhausted
)

// Classify tells what an error of Accept other than ErrFull and ErrClosed
// means. An error that it does not know counts as Exhausted: pausing is right
// for whatever may pass and harmless for whatever may not.
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

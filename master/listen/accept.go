package listen

import (
	"errors"

	"golang.org/x/sys/unix"
)

var (
	// ErrNone reports that no connection waits.
	ErrNone = errors.New("no connection waits")
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

// Accept reserves a slot and accepts a connection that waits. The caller then owns the
// descriptor and the slot.
//
// It reserves the slot before it accepts. A connection without a slot could only be
// closed, but a connection that stays in the kernel's queue is served later.
//
// The error is ErrNone when no connection waits, ErrFull when no slot is free, and
// ErrClosed after Close. Any other error is one of accept4(2), and Classify says what it
// means. Several goroutines may call Accept at once.
func (l *Listener) Accept(slots Slots) (*Conn, error) {
	if !slots.Reserve() {
		return nil, ErrFull
	}
	conn, err := l.accept()
	if err != nil {
		slots.Cancel()
	}
	return conn, err
}

func (l *Listener) accept() (*Conn, error) {
	socket, err := l.descriptor.acquire()
	if err != nil {
		return nil, err
	}
	defer l.descriptor.release()
	for {
		// SOCK_NONBLOCK is missing on purpose. O_NONBLOCK belongs to the
		// open file description, which the worker will share, and programs
		// for inetd expect a blocking one.
		fd, from, err := unix.Accept4(socket, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil, ErrNone
		default:
			return nil, err
		}
		conn, err := l.describe(fd, from)
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
		return conn, nil
	}
}

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

// Classify returns the class of an error of Accept other than ErrNone, ErrFull and
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

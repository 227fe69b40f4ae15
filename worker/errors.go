package worker

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrPeerGone is what errors.Is finds in the error of a connection that ended
// without an end: the client reset it, or stopped answering and was given up
// by the kernel.
var ErrPeerGone = errors.New("peer gone")

var (
	// ErrIdle is what Read and Write return when no byte has moved in either
	// direction for as long as the service allows. A handler may still write a
	// last word; whatever it returns, the reason is ipc.ReasonIdle.
	ErrIdle = errors.New("idle for too long")

	// ErrLifetime is what Read and Write return when the connection has lasted
	// for as long as the service allows. It has been shut down in both
	// directions, and the reason is ipc.ReasonLifetime.
	ErrLifetime = errors.New("connection lasted too long")

	// ErrAborted is what Read and Write return after Conn.Abort for a reason
	// that is neither of these.
	ErrAborted = errors.New("connection aborted")

	// ErrManyValues is what Conn.Report returns beyond ipc.MaxValues keys.
	ErrManyValues = errors.New("too many values in a report")
)

// opHalfClose is connError.op of a failed shutdown(2).
const opHalfClose = "half-close"

// A connError is a failed system call on the connection.
type connError struct {
	op    string
	errno unix.Errno
}

func (e *connError) Error() string { return e.op + " connection: " + e.errno.Error() }

func (e *connError) Unwrap() error { return e.errno }

// Is lets errors.Is(err, ErrPeerGone) hold for the errors that come from the
// client or the network between, and only when they come from the connection:
// an EPIPE of a handler's own pipe is no word about the client.
func (e *connError) Is(target error) bool {
	return target == ErrPeerGone && peerGone(e.op, e.errno)
}

// peerGone reports whether an error number, returned by a system call on the
// connection, means that the client is gone and not that this side is at fault.
func peerGone(op string, errno unix.Errno) bool {
	switch errno {
	case unix.ECONNRESET, unix.ECONNABORTED, unix.EPIPE:
		return true
	case unix.ENOTCONN:
		// After a reset, shutdown(2) finds nothing to shut down. Reading and
		// writing never say this of a connection that once was one.
		return op == opHalfClose
	case unix.ETIMEDOUT:
		// Keepalive or retransmission gave up (tcp(7)).
		return true
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENETRESET,
		unix.ENOPROTOOPT, unix.EPROTO, unix.ECONNREFUSED:
		// ICMP errors that the kernel keeps for the socket while it
		// retransmits, and reports in place of ETIMEDOUT (ip(7)).
		return true
	}
	return false
}

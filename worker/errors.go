package worker

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrPeerGone matches, with errors.Is, the error of a connection that ended abnormally.
// The client reset it, or stopped answering until the kernel gave up.
var ErrPeerGone = errors.New("peer gone")

var (
	// ErrIdle is the error of Read and Write when the connection was idle for too long:
	// no byte moved in either direction. The handler may still write a last message.
	// The reason is ipc.ReasonIdle, whatever the handler returns.
	ErrIdle = errors.New("idle for too long")

	// ErrLifetime is the error of Read and Write when the connection has reached its
	// maximum lifetime. It has been shut down in both directions. The reason is
	// ipc.ReasonLifetime.
	ErrLifetime = errors.New("connection lasted too long")

	// ErrAborted is the error of Read and Write after Conn.Abort with any other reason.
	ErrAborted = errors.New("connection aborted")

	// ErrManyValues is the error of Conn.Report for more than ipc.MaxValues keys.
	ErrManyValues = errors.New("too many values in a report")
)

// opHalfClose is the connError.op of a failed shutdown(2).
const opHalfClose = "half-close"

// A connError is a failed system call on the connection.
type connError struct {
	op    string
	errno unix.Errno
}

func (e *connError) Error() string { return e.op + " connection: " + e.errno.Error() }

func (e *connError) Unwrap() error { return e.errno }

// Is makes errors.Is(err, ErrPeerGone) true for errors that the client or the network
// caused. Only errors of system calls on the connection count. An EPIPE of a handler's
// own pipe says nothing about the client.
func (e *connError) Is(target error) bool {
	return target == ErrPeerGone && peerGone(e.op, e.errno)
}

// peerGone reports whether an error of a system call on the connection means that the
// client is gone.
func peerGone(op string, errno unix.Errno) bool {
	switch errno {
	case unix.ECONNRESET, unix.ECONNABORTED, unix.EPIPE:
		return true
	case unix.ENOTCONN:
		// After a reset, shutdown(2) returns ENOTCONN. Reads and writes never return it
		// for a socket that was once connected.
		return op == opHalfClose
	case unix.ETIMEDOUT:
		// Keepalive or retransmission gave up (tcp(7)).
		return true
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENETRESET,
		unix.ENOPROTOOPT, unix.EPROTO, unix.ECONNREFUSED:
		// These are ICMP errors. The kernel stores them during retransmission and
		// reports them instead of ETIMEDOUT (ip(7)).
		return true
	}
	return false
}

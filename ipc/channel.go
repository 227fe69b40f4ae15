package ipc

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// NewChannel returns the two ends of a control channel. Both are blocking,
// both have FD_CLOEXEC, and the caller owns both; os/exec's ExtraFiles gives
// the worker its end without the flag.
func NewChannel() (master, worker int, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("create control channel: %w", err)
	}
	return ends[0], ends[1], nil
}

// Send sends one encoded message without waiting. The caller keeps fd.
//
// It fails with EAGAIN when the other side has left so much unread that the
// message does not fit, and with EPIPE when the other side is gone; it never
// raises SIGPIPE.
func Send(fd int, msg []byte) error {
	for {
		err := unix.Sendto(fd, msg, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// Receive waits for one message and returns its type and its body, which
// aliases buf. buf holds MaxMessage bytes. The caller keeps fd. With
// unix.MSG_DONTWAIT in flags it does not wait and fails with EAGAIN instead.
//
// The error is io.EOF when the other side has closed the channel; it wraps
// ErrVersion or ErrMalformed when the datagram is not a message of this
// protocol; all others are the system's.
func Receive(fd int, buf []byte, flags int) (Type, []byte, error) {
	// Descriptors that come with a message would be installed in this process
	// whether it wants them or not. No message carries any, so there is no
	// room for them: without a control buffer the kernel discards them and
	// says so with MSG_CTRUNC (recvmsg(2), unix(7)).
	for {
		n, _, got, _, err := unix.RecvmsgBuffers(fd, [][]byte{buf}, nil, flags)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, nil, err
		case got&unix.MSG_CTRUNC != 0:
			return 0, nil, fmt.Errorf("%w: carries descriptors", ErrMalformed)
		case got&unix.MSG_TRUNC != 0:
			return 0, nil, fmt.Errorf("%w: more than %d bytes", ErrMalformed, len(buf))
		case n == 0:
			// A datagram of no bytes reads the same as the end of the
			// channel, and neither side sends one.
			return 0, nil, io.EOF
		}
		return Parse(buf[:n])
	}
}

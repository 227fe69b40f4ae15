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
func Send(fd int, msg []byte) error { return send(fd, msg, nil) }

// SendConnection sends an encoded assignment and a connection with it, as Send
// does. The caller keeps fd and conn; the receiver gets a duplicate of conn,
// which the kernel closes if nobody receives it (unix(7), SCM_RIGHTS).
func SendConnection(fd int, msg []byte, conn int) error {
	return send(fd, msg, unix.UnixRights(conn))
}

func send(fd int, msg, rights []byte) error {
	for {
		err := unix.Sendmsg(fd, msg, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
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
	// whether it wants them or not. Without a control buffer the kernel
	// discards them and says so with MSG_CTRUNC (recvmsg(2), unix(7)).
	t, body, _, err := receive(fd, buf, nil, flags)
	return t, body, err
}

// ReceiveConnection is Receive for a worker that waits for its assignment. It
// also returns the connection that came with the message, with FD_CLOEXEC, or
// -1; the caller owns it. More than one descriptor is malformed, and none of
// them stays open.
func ReceiveConnection(fd int, buf []byte, flags int) (t Type, body []byte, conn int, err error) {
	// Room for two, because the kernel's alignment leaves room for two in any
	// buffer that holds one: a surplus one may arrive and must be closed.
	t, body, fds, err := receive(fd, buf, make([]byte, unix.CmsgSpace(2*4)), flags)
	if err == nil && len(fds) > 1 {
		err = fmt.Errorf("%w: carries %d descriptors", ErrMalformed, len(fds))
	}
	if err != nil {
		for _, surplus := range fds {
			unix.Close(surplus)
		}
		return 0, nil, -1, err
	}
	if len(fds) == 1 {
		return t, body, fds[0], nil
	}
	return t, body, -1, nil
}

// receive returns the descriptors that were received even when it fails.
func receive(fd int, buf, control []byte, flags int) (Type, []byte, []int, error) {
	for {
		n, oobn, got, _, err := unix.RecvmsgBuffers(fd, [][]byte{buf}, control, flags|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, nil, nil, err
		}
		fds := rights(control[:oobn])
		switch {
		case got&unix.MSG_CTRUNC != 0:
			return 0, nil, fds, fmt.Errorf("%w: carries descriptors that it must not", ErrMalformed)
		case got&unix.MSG_TRUNC != 0:
			return 0, nil, fds, fmt.Errorf("%w: more than %d bytes", ErrMalformed, len(buf))
		case n == 0:
			// A datagram of no bytes reads the same as the end of the
			// channel, and neither side sends one.
			return 0, nil, fds, io.EOF
		}
		t, body, err := Parse(buf[:n])
		return t, body, fds, err
	}
}

// rights returns the descriptors of control messages, which are the kernel's
// own and so always parse.
func rights(control []byte) []int {
	var all []int
	messages, _ := unix.ParseSocketControlMessage(control)
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		all = append(all, fds...)
	}
	return all
}

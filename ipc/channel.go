package ipc

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// NewChannel returns the two ends of a control channel. Both descriptors are blocking
// and have FD_CLOEXEC. The caller owns both. os/exec's ExtraFiles gives the worker its
// end without FD_CLOEXEC.
func NewChannel() (master, worker int, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("create control channel: %w", err)
	}
	return ends[0], ends[1], nil
}

// Send sends one encoded message without waiting. The caller keeps fd.
//
// Send fails with EAGAIN when the message does not fit into the socket buffer, because
// the other side has not read earlier messages. It fails with EPIPE when the other side
// has closed the channel. It never raises SIGPIPE.
func Send(fd int, msg []byte) error { return send(fd, msg, nil) }

// SendConnection sends an encoded assignment together with a connection, as Send does.
// The caller keeps fd and conn. The receiver gets a duplicate of conn. The kernel
// closes the duplicate if nobody receives it (unix(7), SCM_RIGHTS).
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

// Receive waits for one message and returns its type and its body. The body aliases
// buf, which must hold MaxMessage bytes. The caller keeps fd. With unix.MSG_DONTWAIT in
// flags, Receive does not wait and fails with EAGAIN instead.
//
// The error is io.EOF when the other side has closed the channel. The error wraps
// ErrVersion or ErrMalformed when the datagram is not a message of this protocol. All
// other errors come from the system call.
func Receive(fd int, buf []byte, flags int) (Type, []byte, error) {
	// The kernel would install descriptors that come with a message in this process,
	// even unwanted ones. Without a control buffer the kernel discards them and sets
	// MSG_CTRUNC (recvmsg(2), unix(7)).
	t, body, _, err := receive(fd, buf, nil, flags)
	return t, body, err
}

// ReceiveConnection is Receive for a worker that waits for its assignment. It also
// returns the connection that came with the message, or -1. The connection has
// FD_CLOEXEC and the caller owns it. A message with more than one descriptor is
// malformed, and ReceiveConnection closes all of them.
func ReceiveConnection(fd int, buf []byte, flags int) (t Type, body []byte, conn int, err error) {
	// The buffer has room for two descriptors. The kernel aligns the buffer size, so
	// any buffer for one descriptor has room for two. A second descriptor may therefore
	// arrive and must be closed.
	t, body, fds, err := receive(fd, buf, make([]byte, unix.CmsgSpace(2*4)), flags)
	if err == nil && len(fds) > 1 {
		err = fmt.Errorf("%w: carries %d descriptors", ErrMalformed, len(fds))
	}
	if err != nil {
		for _, extra := range fds {
			unix.Close(extra)
		}
		return 0, nil, -1, err
	}
	if len(fds) == 1 {
		return t, body, fds[0], nil
	}
	return t, body, -1, nil
}

// receive returns the received descriptors even when it fails.
func receive(fd int, buf, control []byte, flags int) (Type, []byte, []int, error) {
	for {
		n, oobn, recvFlags, _, err := unix.RecvmsgBuffers(fd, [][]byte{buf}, control, flags|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, nil, nil, err
		}
		fds := parseRights(control[:oobn])
		switch {
		case recvFlags&unix.MSG_CTRUNC != 0:
			return 0, nil, fds, fmt.Errorf("%w: carries descriptors that it must not", ErrMalformed)
		case recvFlags&unix.MSG_TRUNC != 0:
			return 0, nil, fds, fmt.Errorf("%w: more than %d bytes", ErrMalformed, len(buf))
		case n == 0:
			// An empty datagram cannot be distinguished from the end of the channel.
			// Neither side sends empty datagrams.
			return 0, nil, fds, io.EOF
		}
		t, body, err := Parse(buf[:n])
		return t, body, fds, err
	}
}

// parseRights returns the descriptors in control messages. The kernel wrote the
// messages, so they always parse.
func parseRights(control []byte) []int {
	var all []int
	messages, _ := unix.ParseSocketControlMessage(control)
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		all = append(all, fds...)
	}
	return all
}

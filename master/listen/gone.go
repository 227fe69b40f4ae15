package listen

import "golang.org/x/sys/unix"

// Waiting reports whether a connection waits in the kernel's queue for accept. It
// costs a system call.
func (l *Listener) Waiting() bool {
	waiting := false
	err := l.descriptor.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		waiting = err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	})
	return waiting && err == nil
}

// Gone reports whether the peer has gone, so that nobody would see an answer: it
// has reset the connection, or the kernel has given up on it. It costs a system
// call and waits for nothing. The descriptor must be open.
//
// A peer that has only ended its own direction has not gone. TCP cannot tell it
// from one that has closed the connection. Of a unix socket the kernel tells that
// the peer has closed it. What the peer has sent before can still be read, and may
// be all that it wanted, so it has gone only if there is nothing to read.
func (c *Conn) Gone() bool {
	fds := []unix.PollFd{{Fd: int32(c.FD)}}
	for {
		// POLLHUP and POLLERR need not be asked for. TCP says POLLHUP in the
		// state CLOSE (tcp_poll in net/ipv4/tcp.c), and a unix socket when both
		// directions are shut down (unix_poll in net/unix/af_unix.c).
		if _, err := unix.Poll(fds, 0); err == unix.EINTR {
			continue
		}
		break
	}
	if fds[0].Revents&unix.POLLHUP == 0 {
		return false
	}
	if c.Socket.Local.IsValid() {
		return true // a TCP socket, whoever the client is
	}
	var first [1]byte
	n, _, err := unix.Recvfrom(c.FD, first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n == 0 || err != nil
}

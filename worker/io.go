package worker

import (
	"io"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Read waits for bytes from the client. It fails with io.EOF when the client has closed
// or half-closed its side, and with os.ErrDeadlineExceeded at the read deadline. It
// fails with ErrIdle and ErrLifetime at the connection's limits, and with ErrPeerGone
// when the client has vanished. See io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.startWait(&c.reading)
	for {
		n, err := c.read(p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if err := c.onTimeout(&c.reading); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, c.WrapError("read from", err)
		case n == 0:
			if err := c.Err(); err != nil {
				return 0, err
			}
			c.MarkEOF()
			return 0, io.EOF
		}
		c.in.Add(uint64(n))
		return n, nil
	}
}

func (c *Conn) read(p []byte) (int, error) {
	if !c.usePoll.Load() {
		return unix.Read(c.fd, p)
	}
	if err := c.wait(&c.reading, unix.POLLIN); err != nil {
		return 0, err
	}
	n, _, err := unix.Recvfrom(c.fd, p, unix.MSG_DONTWAIT)
	return n, err
}

// Write passes all of p to the kernel. It waits while the client reads too slowly. It
// returns the same errors as Read, except io.EOF. See io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		c.startWait(&c.writing)
		n, err := c.write(p[done:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if err := c.onTimeout(&c.writing); err != nil {
				return done, err
			}
			continue
		case err != nil:
			return done, c.WrapError("write to", err)
		}
		done += n
		c.out.Add(uint64(n))
	}
	return done, nil
}

func (c *Conn) write(p []byte) (int, error) {
	if !c.usePoll.Load() {
		return unix.Write(c.fd, p)
	}
	if err := c.wait(&c.writing, unix.POLLOUT); err != nil {
		return 0, err
	}
	return unix.SendmsgN(c.fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// CloseWrite tells the client that no more bytes follow, with shutdown(SHUT_WR).
// Reading continues. The kernel still delivers the bytes that were written before. A
// second call does nothing.
func (c *Conn) CloseWrite() error {
	if c.writeClosed {
		return nil
	}
	c.writeClosed = true
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return c.WrapError(opHalfClose, err)
	}
	return nil
}

// WrapError wraps the error of a system call on FD as Read and Write do. The result
// matches ErrPeerGone, ErrIdle or ErrLifetime when that is the cause. op is a phrase
// such as "read from".
func (c *Conn) WrapError(op string, err error) error {
	errno, ok := err.(unix.Errno)
	if !ok {
		return err
	}
	if errno == unix.EAGAIN && c.assignment.Limits.Idle > 0 {
		// A call in blocking mode fails with EAGAIN at SO_RCVTIMEO and SO_SNDTIMEO.
		c.setEndReason(ipc.ReasonIdle)
	}
	if err := c.Err(); err != nil {
		return err
	}
	return &connError{op: op, errno: errno}
}

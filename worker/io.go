package worker

import (
	"io"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Read waits for bytes from the client and fails with io.EOF when the client
// has closed or half-closed its side. It fails with os.ErrDeadlineExceeded at
// the read deadline, with ErrIdle and ErrLifetime at the connection's limits,
// and with ErrPeerGone when the client has vanished. See io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.begin(&c.reading)
	for {
		n, err := c.read(p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if err := c.timedOut(&c.reading); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, c.Error("read from", err)
		case n == 0:
			if err := c.Ended(); err != nil {
				return 0, err
			}
			c.SawEnd()
			return 0, io.EOF
		}
		c.in.Add(uint64(n))
		return n, nil
	}
}

func (c *Conn) read(p []byte) (int, error) {
	if !c.polled.Load() {
		return unix.Read(c.fd, p)
	}
	if err := c.wait(&c.reading, unix.POLLIN); err != nil {
		return 0, err
	}
	n, _, err := unix.Recvfrom(c.fd, p, unix.MSG_DONTWAIT)
	return n, err
}

// Write hands all of p to the kernel, and waits while the client is too slow
// to take it. Its errors are those of Read, io.EOF excepted. See io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		c.begin(&c.writing)
		n, err := c.write(p[done:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if err := c.timedOut(&c.writing); err != nil {
				return done, err
			}
			continue
		case err != nil:
			return done, c.Error("write to", err)
		}
		done += n
		c.out.Add(uint64(n))
	}
	return done, nil
}

func (c *Conn) write(p []byte) (int, error) {
	if !c.polled.Load() {
		return unix.Write(c.fd, p)
	}
	if err := c.wait(&c.writing, unix.POLLOUT); err != nil {
		return 0, err
	}
	return unix.SendmsgN(c.fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// CloseWrite tells the client that nothing more will come, shutdown(SHUT_WR);
// reading goes on. What was written before is still delivered. Closing twice
// is harmless.
func (c *Conn) CloseWrite() error {
	if c.wroteEnd {
		return nil
	}
	c.wroteEnd = true
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return c.Error(opHalfClose, err)
	}
	return nil
}

// Error wraps the error of a system call on FD the way Read and Write do, so
// that ErrPeerGone is found in it, and ErrIdle and ErrLifetime when the call
// failed because of these. op reads as in "read from".
func (c *Conn) Error(op string, err error) error {
	errno, ok := err.(unix.Errno)
	if !ok {
		return err
	}
	if errno == unix.EAGAIN && c.assignment.Limits.Idle > 0 {
		// What a call in blocking mode says at SO_RCVTIMEO and SO_SNDTIMEO.
		c.end(ipc.ReasonIdle)
	}
	if err := c.Ended(); err != nil {
		return err
	}
	return &connError{op: op, errno: errno}
}

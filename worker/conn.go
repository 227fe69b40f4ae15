package worker

import (
	"io"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A Conn is the connection that a worker serves, and the assignment that came
// with it. Its descriptor is in blocking mode, and its methods are plain system
// calls that wait in the kernel: a worker has nothing else to do meanwhile, and
// the runtime's poller would cost it a thread and an epoll descriptor.
//
// Like the process itself it is made for one goroutine. One more may write
// while another reads; no two may do the same.
type Conn struct {
	fd         int
	assignment ipc.Assignment
	in, out    uint64     // bytes read from and written to the client
	reason     ipc.Reason // as set by SetReason
	readEnd    bool       // Read has returned io.EOF: nothing unread can be left
	wroteEnd   bool       // CloseWrite was called
}

// NewConn returns a Conn for a connected stream socket in blocking mode. Main
// makes the one that a handler gets; NewConn itself is for the tests of
// handlers. The Conn owns fd from here on.
func NewConn(fd int, a ipc.Assignment) *Conn {
	return &Conn{fd: fd, assignment: a}
}

// ID is the connection's unique id, as in the master's log.
func (c *Conn) ID() string { return c.assignment.Connection }

// Service is the name of the service that the client connected to.
func (c *Conn) Service() string { return c.assignment.Service }

// Peer is the client's address as the log has it: "ip:port", or a path.
func (c *Conn) Peer() string { return c.assignment.Peer }

// Local is the address that the client connected to, in the same form.
func (c *Conn) Local() string { return c.assignment.Local }

// Setting returns one of the service's settings for this handler, "" when it
// is not set.
func (c *Conn) Setting(key string) string { return c.assignment.Setting(key) }

// FD returns the descriptor for system calls of the handler's own. The Conn
// still owns it. Bytes moved this way are made known with Count.
func (c *Conn) FD() int { return c.fd }

// Count adds bytes that a handler moved by itself, past Read and Write.
func (c *Conn) Count(in, out int64) {
	c.in += uint64(in)
	c.out += uint64(out)
}

// Bytes returns how many bytes were read from the client and how many were
// handed to the kernel for it.
func (c *Conn) Bytes() (in, out uint64) { return c.in, c.out }

// SetReason names why the connection ended in order. It goes into the report
// when the handler returns nil; see Handler for what stands there otherwise.
func (c *Conn) SetReason(r ipc.Reason) { c.reason = r }

// Read waits for bytes from the client and fails with io.EOF when the client
// has closed or half-closed its side. See io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(c.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, c.Error("read from", err)
		case n == 0:
			c.readEnd = true
			return 0, io.EOF
		}
		c.in += uint64(n)
		return n, nil
	}
}

// Write hands all of p to the kernel, and waits while the client is too slow
// to take it. See io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(c.fd, p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, c.Error("write to", err)
		}
		done += n
		c.out += uint64(n)
	}
	return done, nil
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
// that ErrPeerGone is found in it. op reads as in "read from".
func (c *Conn) Error(op string, err error) error {
	if errno, ok := err.(unix.Errno); ok {
		return &connError{op: op, errno: errno}
	}
	return err
}

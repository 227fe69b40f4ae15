package workers

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/fdpark"
)

// errChannelClosed reports that nothing more can come over a control channel,
// because nobody holds its other end.
var errChannelClosed = errors.New("control channel closed by the worker")

// A Channel is the master's end of a worker's control channel. It owns the
// descriptor, which may be among the master's or parked (parking.go). The loop
// reads and closes it while other goroutines send, so each use holds the lock:
// the number could be another descriptor's a moment later.
type Channel struct {
	mu     sync.Mutex // guards what follows
	fd     int        // 0: there is no channel, or it is closed; valid only on parked, if that is not nil
	parked *fdpark.Thread
}

// open makes it the channel of a descriptor, -1 for none.
func (c *Channel) open(fd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fd = max(fd, 0)
}

// receive reads the next message into buf, if there is one, and never waits. It
// fails with unix.EAGAIN when there is nothing to read, with errChannelClosed
// at the end, and with an error of package ipc for what is no message.
//
// Nearly every connection passes here, and nearly none with a parked channel. So
// only that case has a closure, which costs memory.
func (c *Channel) receive(buf []byte) (ipc.Type, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd <= 0:
		return 0, nil, unix.EAGAIN
	case c.parked == nil:
		return receive(c.fd, buf)
	}
	var r struct {
		t    ipc.Type
		body []byte
		err  error
	}
	c.parked.Do(func() { r.t, r.body, r.err = receive(c.fd, buf) })
	return r.t, r.body, r.err
}

func receive(fd int, buf []byte) (ipc.Type, []byte, error) {
	t, body, err := ipc.Receive(fd, buf, unix.MSG_DONTWAIT)
	if err == unix.ECONNRESET {
		// The worker ended with its assignment unread. The socket says so
		// first and once; what was sent before that comes after it.
		t, body, err = ipc.Receive(fd, buf, unix.MSG_DONTWAIT)
	}
	if err == io.EOF {
		if peerClosed(fd) {
			return 0, nil, errChannelClosed
		}
		// A datagram of no bytes reads the same.
		return 0, nil, fmt.Errorf("%w: empty message", ipc.ErrMalformed)
	}
	return t, body, err
}

// peerClosed reports whether nobody holds the other end.
func peerClosed(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return n > 0 || err != nil
}

// Send sends a message, and never waits.
func (c *Channel) Send(message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd <= 0:
		return unix.EPIPE
	case c.parked == nil:
		return ipc.Send(c.fd, message)
	}
	var err error
	c.parked.Do(func() { err = ipc.Send(c.fd, message) })
	return err
}

// sendConnection sends an assignment with its connection. A channel that may be
// sent one is never parked.
func (c *Channel) sendConnection(assignment []byte, conn int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd <= 0 || c.parked != nil {
		return unix.EPIPE
	}
	return ipc.SendConnection(c.fd, assignment, conn)
}

// Close closes the master's end, which tells a worker that waits to go. It may
// be called more than once.
func (c *Channel) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd <= 0:
	case c.parked == nil:
		unix.Close(c.fd)
	default:
		c.parked.Do(func() { unix.Close(c.fd) })
	}
	c.fd, c.parked = 0, nil
}

// moved makes it a channel whose descriptor is parked under a number of its own,
// and closes the one among the master's.
func (c *Channel) moved(to *fdpark.Thread, fd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unix.Close(c.fd)
	c.fd, c.parked = fd, to
}

// descriptor returns the number of the descriptor, and whether it is among the
// master's.
func (c *Channel) descriptor() (fd int, near bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fd, c.fd > 0 && c.parked == nil
}

// takenBack makes it a channel whose descriptor, which was parked, is among the master's.
func (c *Channel) takenBack(fd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fd, c.parked = fd, nil
}

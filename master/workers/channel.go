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

// isOpen reports whether the channel is there and not closed.
func (c *Channel) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fd > 0
}

// on runs f with the descriptor, on the thread where its number is valid. It
// does nothing when there is none. c.mu is held.
func (c *Channel) on(f func(fd int)) {
	switch {
	case c.fd <= 0:
	case c.parked == nil:
		f(c.fd)
	default:
		c.parked.Do(func() { f(c.fd) })
	}
}

// receive reads the next message into buf, if there is one, and never waits. It
// fails with unix.EAGAIN when there is nothing to read, with errChannelClosed
// at the end, and with an error of package ipc for what is no message.
func (c *Channel) receive(buf []byte) (t ipc.Type, body []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = unix.EAGAIN
	c.on(func(fd int) {
		for {
			t, body, err = ipc.Receive(fd, buf, unix.MSG_DONTWAIT)
			// ECONNRESET: the worker ended with its assignment unread. The
			// socket says so first and once; what was sent before that comes
			// after it.
			if err != unix.ECONNRESET {
				break
			}
		}
		if err == io.EOF {
			// A datagram of no bytes reads the same.
			err = fmt.Errorf("%w: empty message", ipc.ErrMalformed)
			if peerClosed(fd) {
				err = errChannelClosed
			}
		}
	})
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
	return c.send(func(fd int) error { return ipc.Send(fd, message) })
}

// sendConnection sends an assignment with its connection.
func (c *Channel) sendConnection(assignment []byte, conn int) error {
	return c.send(func(fd int) error { return ipc.SendConnection(fd, assignment, conn) })
}

func (c *Channel) send(f func(fd int) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := error(unix.EPIPE)
	c.on(func(fd int) { err = f(fd) })
	return err
}

// Close closes the master's end, which tells a worker that waits to go. It may
// be called more than once.
func (c *Channel) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on(func(fd int) { unix.Close(fd) })
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

package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// A socket closed with unread bytes in it answers with RST instead of FIN, and
// the client's kernel may then throw away what it has received and not yet
// handed out: the last bytes of the answer (RFC 1122, section 4.2.2.13). A
// connection that ends from this side is therefore ended in steps: FIN, read
// and discard what still comes, close. A client that never stops sending, or
// never closes, gets no more than this of a worker's life.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
)

// Close ends the connection and gives up its descriptor. Everything that was
// written is delivered as far as the client lets it; bytes that the client
// still sends are discarded and not counted. The clock is that of the system.
// Closing twice is harmless.
func (c *Conn) Close() error {
	c.drain.end()
	if c.lifetime != nil {
		c.lifetime.Stop()
	}
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.linger()
	for _, wake := range []int{c.reading.wake, c.writing.wake} {
		if wake >= 0 {
			unix.Close(wake)
		}
	}
	if c.drain.control != nil && c.assignment.More {
		return vacate(c.fd)
	}
	return unix.Close(c.fd)
}

func (c *Conn) linger() {
	if c.CloseWrite() != nil || c.readEnd.Load() {
		return
	}
	buf := make([]byte, 16<<10)
	deadline := time.Now().Add(lingerTime)
	for left := lingerBytes; left > 0; {
		wait := time.Until(deadline)
		if wait <= 0 {
			return
		}
		// The descriptor is in blocking mode, so poll keeps the time.
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(wait.Milliseconds())+1); err != nil && err != unix.EINTR {
			return
		}
		n, _, err := unix.Recvfrom(c.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil || n == 0:
			return
		}
		left -= n
	}
}

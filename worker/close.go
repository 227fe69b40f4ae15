package worker

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A socket that is closed with unread bytes sends RST instead of FIN. The client's
// kernel may then discard bytes that it has received and not yet passed on. The end of
// the answer would be lost (RFC 1122, section 4.2.2.13). Close therefore works in
// steps: it sends FIN, reads and discards what still arrives, and then closes. A client
// that never stops sending, or never closes, delays a worker by these limits at most.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
)

// Close ends the connection and closes its descriptor. The client gets everything that
// was written, if it reads in time. Bytes that the client still sends are discarded and
// not counted. Close uses the system's clock. A second call does nothing.
func (c *Conn) Close() error {
	c.drain.stopWatching()
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
	c.lingeringClose()
	for _, wakeFD := range []int{c.reading.wakeFD, c.writing.wakeFD} {
		if wakeFD >= 0 {
			unix.Close(wakeFD)
		}
	}
	if c.drain.control != nil && c.assignment.Reusable {
		return replaceWithNull(c.fd)
	}
	return unix.Close(c.fd)
}

func (c *Conn) lingeringClose() {
	if c.CloseWrite() != nil || c.readEOF.Load() {
		return
	}
	buf := make([]byte, 16<<10)
	deadline := time.Now().Add(lingerTime)
	for left := lingerBytes; left > 0; {
		wait := time.Until(deadline)
		if wait <= 0 {
			return
		}
		// The descriptor is in blocking mode, so poll(2) applies the timeout.
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

// Abort ends the connection. Any goroutine may call it. The connection is shut down in
// both directions, so that waiting calls return. The kernel still delivers the bytes
// that were written before. The report has this reason, whatever the handler returns.
// When Abort is called again, the first reason stays.
//
// Afterwards Read and Write fail with ErrIdle for ipc.ReasonIdle, with ErrLifetime for
// ipc.ReasonLifetime, and with ErrAborted for any other reason. The first two reasons
// also decide the exit code.
func (c *Conn) Abort(r ipc.Reason) {
	c.setEndReason(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		unix.Shutdown(c.fd, unix.SHUT_RDWR)
	}
}

// setEndReason records why the connection ends when the handler did not decide it. The
// first reason stays.
func (c *Conn) setEndReason(r ipc.Reason) { c.endReason.CompareAndSwap(nil, &r) }

// Err returns the error of Read and Write after a limit was reached or Abort was
// called. Otherwise it returns nil.
func (c *Conn) Err() error {
	r := c.endReason.Load()
	switch {
	case r == nil:
		return nil
	case *r == ipc.ReasonIdle:
		return ErrIdle
	case *r == ipc.ReasonLifetime:
		return ErrLifetime
	}
	return ErrAborted
}

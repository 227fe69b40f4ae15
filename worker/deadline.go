package worker

import (
	"encoding/binary"
	"math"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A direction is what waiting for one direction of a connection takes.
type direction struct {
	deadline atomic.Int64 // in nanoseconds since the epoch, 0 for none
	wake     int          // eventfd that ends a wait to look at the deadline again, -1 without one
	seen     uint64       // bytes in both directions when the wait began, or was last found idle
}

// SetDeadline sets both deadlines. See SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	c.setDeadline(&c.reading, t)
	c.setDeadline(&c.writing, t)
	return nil
}

// SetReadDeadline makes Read fail with an error for which
// errors.Is(err, os.ErrDeadlineExceeded) holds from t on; the zero time takes
// the deadline away. A Read that waits already is included if it began after
// Context or a deadline was first asked for on this connection.
//
// The clock is the system's, with a resolution of a millisecond. It never
// fails; its form is that of net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.setDeadline(&c.reading, t)
	return nil
}

// SetWriteDeadline is SetReadDeadline for Write. A Write that fails may have
// sent a part; it returns how much.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.setDeadline(&c.writing, t)
	return nil
}

func (c *Conn) setDeadline(d *direction, t time.Time) {
	c.interruptible()
	nano := int64(0)
	if !t.IsZero() {
		nano = t.UnixNano()
	}
	d.deadline.Store(nano)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && d.wake >= 0 {
		unix.Write(d.wake, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// interruptible makes waits from here on end for more than the client.
func (c *Conn) interruptible() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.polled.Load() {
		return
	}
	for _, d := range []*direction{&c.reading, &c.writing} {
		// Without a descriptor to spare, deadlines still hold for all calls
		// that begin after them.
		if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
			d.wake = fd
		}
	}
	c.polled.Store(true)
}

// wait returns nil when the descriptor is ready for events. It returns EAGAIN
// when a deadline or the idle limit has come first, or seems to have.
func (c *Conn) wait(d *direction, events int16) error {
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: events}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	for {
		left := time.Duration(math.MaxInt64)
		if at := d.deadline.Load(); at != 0 {
			if left = time.Until(time.Unix(0, at)); left <= 0 {
				return unix.EAGAIN
			}
		}
		if idle := c.assignment.Limits.Idle; idle > 0 {
			left = min(left, idle)
		}
		n, err := unix.Poll(fds, milliseconds(left))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.EAGAIN
		case fds[1].Revents != 0:
			unix.Read(d.wake, make([]byte, 8))
			continue
		}
		return nil
	}
}

// milliseconds is a time as poll(2) takes it: rounded up, so that it has passed
// when poll returns, and -1 for one that is as good as none.
func milliseconds(d time.Duration) int {
	if d > math.MaxInt32*time.Millisecond {
		return -1
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// timedOut says what it means that a call has waited in vain: an error, or nil
// when it should wait again.
func (c *Conn) timedOut(d *direction) error {
	if at := d.deadline.Load(); at != 0 && !time.Now().Before(time.Unix(0, at)) {
		return os.ErrDeadlineExceeded
	}
	if !c.polled.Load() {
		// A socket that is not in blocking mode any more, which an adapter may
		// have done, fails like this at once.
		flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0)
		if err == nil && flags&unix.O_NONBLOCK != 0 {
			c.interruptible()
			return nil
		}
	}
	return c.idled(d)
}

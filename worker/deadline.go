package worker

import (
	"encoding/binary"
	"math"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A direction holds the state of waiting for one direction of a connection.
type direction struct {
	deadline    atomic.Int64 // in nanoseconds since the epoch, 0 means none
	wakeFD      int          // eventfd that interrupts a wait after a new deadline, -1 means none
	movedBefore uint64       // bytes in both directions when the wait began or was last checked
}

// SetDeadline sets both deadlines. See SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	c.setDeadline(&c.reading, t)
	c.setDeadline(&c.writing, t)
	return nil
}

// SetReadDeadline makes Read fail from t on. errors.Is(err, os.ErrDeadlineExceeded)
// holds for the error. The zero time removes the deadline. A Read that is already
// waiting is affected only in one case: it began after the first call of Context or of
// a deadline method on this connection.
//
// The clock is the system's, with a resolution of one millisecond. SetReadDeadline
// never fails; it returns an error because net.Conn does.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.setDeadline(&c.reading, t)
	return nil
}

// SetWriteDeadline is SetReadDeadline for Write. A Write that fails may have sent a
// part of its bytes; it returns their number.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.setDeadline(&c.writing, t)
	return nil
}

func (c *Conn) setDeadline(d *direction, t time.Time) {
	c.enablePoll()
	nano := int64(0)
	if !t.IsZero() {
		nano = t.UnixNano()
	}
	d.deadline.Store(nano)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && d.wakeFD >= 0 {
		unix.Write(d.wakeFD, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// enablePoll makes later waits use poll(2), so that a deadline can interrupt them.
func (c *Conn) enablePoll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.usePoll.Load() {
		return
	}
	for _, d := range []*direction{&c.reading, &c.writing} {
		// When no descriptor is available, deadlines still apply to all calls that
		// begin after they were set.
		if fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
			d.wakeFD = fd
		}
	}
	c.usePoll.Store(true)
}

// wait returns nil when the descriptor is ready for events. It returns EAGAIN when a
// deadline or the idle limit may have been reached. The caller checks that.
func (c *Conn) wait(d *direction, events int16) error {
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: events}, {Fd: int32(d.wakeFD), Events: unix.POLLIN}}
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
			unix.Read(d.wakeFD, make([]byte, 8))
			continue
		}
		return nil
	}
}

// milliseconds converts a time for poll(2). It rounds up, so that the time has passed
// when poll returns. It returns -1, no timeout, for a time that poll cannot express.
func milliseconds(d time.Duration) int {
	if d > math.MaxInt32*time.Millisecond {
		return -1
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// onTimeout decides what follows when a call has waited in vain. It returns an error,
// or nil when the call should wait again.
func (c *Conn) onTimeout(d *direction) error {
	if at := d.deadline.Load(); at != 0 && !time.Now().Before(time.Unix(0, at)) {
		return os.ErrDeadlineExceeded
	}
	if !c.usePoll.Load() {
		// An adapter may have taken the socket out of blocking mode. Calls then fail
		// with EAGAIN at once.
		flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0)
		if err == nil && flags&unix.O_NONBLOCK != 0 {
			c.enablePoll()
			return nil
		}
	}
	return c.onIdle(d)
}

// applyLimits applies the limits of the assignment.
//
// The idle limit costs nothing while bytes move. The kernel applies it to every
// blocking call on the socket, also to the handler's own calls (SO_RCVTIMEO and
// SO_SNDTIMEO in socket(7)). Read and Write check whether such a timeout means that the
// connection is idle. The lifetime needs a timer: on a connection where bytes trickle,
// no call waits long enough.
func (c *Conn) applyLimits() {
	limits := c.assignment.Limits
	if limits.Idle > 0 {
		// Errors are ignored. This side then does not apply the limit, but the master
		// also does.
		timeout := unix.NsecToTimeval(limits.Idle.Nanoseconds())
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	}
	if limits.Lifetime > 0 {
		c.lifetime = time.AfterFunc(limits.Lifetime, func() { c.Abort(ipc.ReasonLifetime) })
	}
}

// startWait must be called before a call that may wait.
func (c *Conn) startWait(d *direction) {
	if c.assignment.Limits.Idle > 0 {
		d.movedBefore = c.bytesMoved()
	}
}

// onIdle is called when a call has waited for the whole idle limit. The connection is
// not idle if bytes have moved in the other direction meanwhile. The call then waits
// for the same time again.
func (c *Conn) onIdle(d *direction) error {
	if c.assignment.Limits.Idle <= 0 {
		return nil
	}
	if moved := c.bytesMoved(); moved != d.movedBefore {
		d.movedBefore = moved
		return nil
	}
	c.setEndReason(ipc.ReasonIdle)
	return c.Err()
}

// bytesMoved returns how many bytes have moved in both directions.
func (c *Conn) bytesMoved() uint64 { return c.in.Load() + c.out.Load() }

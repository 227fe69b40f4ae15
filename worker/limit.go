package worker

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// limit puts the limits of the assignment in force.
//
// The idle limit costs nothing while bytes move: the kernel keeps it for every
// blocking call on the socket, a handler's own included (SO_RCVTIMEO and
// SO_SNDTIMEO in socket(7)), and Read and Write look at what it means. The
// lifetime takes a timer, because a connection on which bytes trickle never
// waits for long.
func (c *Conn) limit() {
	limits := c.assignment.Limits
	if limits.Idle > 0 {
		// What fails here is only that the limit is not kept by this side; the
		// master keeps it too.
		timeout := unix.NsecToTimeval(limits.Idle.Nanoseconds())
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	}
	if limits.Lifetime > 0 {
		c.lifetime = time.AfterFunc(limits.Lifetime, func() { c.Abort(ipc.ReasonLifetime) })
	}
}

// Abort ends the connection from any goroutine: it is shut down in both
// directions, so that calls that wait on it return, and the reason stands in
// the report whatever the handler returns then. What was written before is
// still delivered. The first reason stays.
//
// Read and Write fail with ErrIdle or ErrLifetime after ipc.ReasonIdle or
// ipc.ReasonLifetime, which also decide the exit code, else with ErrAborted.
func (c *Conn) Abort(r ipc.Reason) {
	c.end(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		unix.Shutdown(c.fd, unix.SHUT_RDWR)
	}
}

// end notes why the connection ends, which is not the handler's decision.
func (c *Conn) end(r ipc.Reason) { c.over.CompareAndSwap(nil, &r) }

// Ended returns the error that Read and Write fail with after a limit was
// reached or Abort was called, else nil.
func (c *Conn) Ended() error {
	r := c.over.Load()
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

// begin is called before a call that may wait.
func (c *Conn) begin(d *direction) {
	if c.assignment.Limits.Idle > 0 {
		d.seen = c.moved()
	}
}

// idled is called when a call has waited for as long as the idle limit allows.
// The connection is not idle if the other direction has moved meanwhile; then
// the call waits for the same time again.
func (c *Conn) idled(d *direction) error {
	if c.assignment.Limits.Idle <= 0 {
		return nil
	}
	if moved := c.moved(); moved != d.seen {
		d.seen = moved
		return nil
	}
	c.end(ipc.ReasonIdle)
	return c.Ended()
}

// moved is how many bytes have moved in both directions.
func (c *Conn) moved() uint64 { return c.in.Load() + c.out.Load() }

package worker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/preforkd/preforkd/ipc"
)

// A Conn is the connection that a worker serves, and the assignment that came
// with it. Its descriptor is in blocking mode, and its methods are plain system
// calls that wait in the kernel: a worker has nothing else to do meanwhile, and
// the runtime's poller would cost it a thread and an epoll descriptor.
//
// Like the process itself it is made for one goroutine. One more may write
// while another reads; no two may do the same. The deadlines, Abort, Count and
// Bytes are for any goroutine.
type Conn struct {
	fd         int
	assignment ipc.Assignment
	reason     ipc.Reason // as set by SetReason
	values     []ipc.Pair // as set by Report
	wroteEnd   bool       // CloseWrite was called

	readEnd atomic.Bool                // the client's end was read: nothing unread can be left
	in, out atomic.Uint64              // bytes read from and written to the client
	over    atomic.Pointer[ipc.Reason] // why the connection was ended from outside, nil while it was not

	reading, writing direction
	polled           atomic.Bool // wait with poll(2): there is more to wait for than the client

	// mu guards closed, which keeps Abort's shutdown from a number that means
	// another connection by then.
	mu     sync.Mutex
	closed bool

	lifetime *time.Timer // nil without that limit
	drain    drain
}

// NewConn returns a Conn for a connected stream socket in blocking mode. Serve
// and Main make the one that a handler gets; NewConn itself is for the tests of
// handlers. The Conn owns fd from here on, and its limits count from here on.
func NewConn(fd int, a ipc.Assignment) *Conn { return newConn(fd, a, nil) }

// newConn is NewConn with the control channel that a drain comes from, or nil.
func newConn(fd int, a ipc.Assignment, control *control) *Conn {
	c := &Conn{fd: fd, assignment: a, drain: drain{control: control}}
	c.reading.wake, c.writing.wake = -1, -1
	c.limit()
	return c
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

// Settings returns all of the service's settings for this handler, by
// ascending key. The caller owns the slice.
func (c *Conn) Settings() []ipc.Pair { return slices.Clone(c.assignment.Settings) }

// Limits returns what bounds the connection. Read and Write keep the limits by
// themselves; code that moves bytes in another way may have to know them.
func (c *Conn) Limits() ipc.Limits { return c.assignment.Limits }

// Context returns a context that ends when the master asks this worker to come
// to an end, because the service stops or changes. A handler that looks at it
// gets the chance to say good-bye; one that never asks for it simply finishes
// its connection, and one that takes too long is stopped by a signal.
//
// The context does not end when the master dies: nobody waits for this
// connection then, so it is served to its end, and the worker exits after it.
//
// The first call starts a goroutine that watches the control channel, which
// costs a thread; connections of handlers that never call it do not pay for it.
// Call it before waiting in Read or Write: only calls that begin after it can
// be ended by a deadline that is set meanwhile. For instance
//
//	stop := context.AfterFunc(c.Context(), func() { c.SetReadDeadline(time.Now()) })
//
// ends the reading of requests and lets the answer under way be written.
func (c *Conn) Context() context.Context {
	c.interruptible()
	return c.drain.context()
}

// FD returns the descriptor for system calls of the handler's own. The Conn
// still owns it. Bytes moved this way are made known with Count, and errors
// are passed through Error. Such calls end at the limits of the connection, not
// at deadlines.
func (c *Conn) FD() int { return c.fd }

// Count adds bytes that a handler moved by itself, past Read and Write.
func (c *Conn) Count(in, out int64) {
	c.in.Add(uint64(in))
	c.out.Add(uint64(out))
}

// SawEnd makes known that a handler has met the client's end by itself, past
// Read.
func (c *Conn) SawEnd() { c.readEnd.Store(true) }

// Bytes returns how many bytes were read from the client and how many were
// handed to the kernel for it.
func (c *Conn) Bytes() (in, out uint64) { return c.in.Load(), c.out.Load() }

// SetReason names why the connection ended in order. It goes into the report
// when the handler returns nil; see Handler for what stands there otherwise.
func (c *Conn) SetReason(r ipc.Reason) { c.reason = r }

// Report puts a value into the log event of this connection: who logged in,
// how many requests there were. A key that was used before gets the new value.
// It fails when ipc.CheckValue does, and beyond ipc.MaxValues different keys.
func (c *Conn) Report(key, value string) error {
	if err := ipc.CheckValue(key, value); err != nil {
		return err
	}
	for i := range c.values {
		if c.values[i].Key == key {
			c.values[i].Value = value
			return nil
		}
	}
	if len(c.values) == ipc.MaxValues {
		return ErrManyValues
	}
	c.values = append(c.values, ipc.Pair{Key: key, Value: value})
	return nil
}

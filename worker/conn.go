package worker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/preforkd/preforkd/ipc"
)

// A Conn is the connection that a worker serves, with its assignment. The descriptor is
// in blocking mode, and the methods are plain system calls that wait in the kernel. A
// worker has nothing else to do meanwhile. The runtime's poller would cost one thread
// and one epoll descriptor.
//
// A Conn is made for one goroutine. A second goroutine may write while the first one
// reads. Two goroutines must not read at the same time, or write at the same time. Any
// goroutine may call the deadline methods, Abort, AddBytes and Bytes.
type Conn struct {
	fd          int
	assignment  ipc.Assignment
	reason      ipc.Reason // set by SetReason
	values      []ipc.Pair // set by Report
	writeClosed bool       // whether CloseWrite was called

	readEOF   atomic.Bool                // end of file was read, so no unread bytes can be left
	in, out   atomic.Uint64              // bytes read from the client, and bytes written to it
	endReason atomic.Pointer[ipc.Reason] // the limit or the Abort that ended the connection, or nil

	reading, writing direction
	usePoll          atomic.Bool // wait with poll(2) for the client and for a deadline

	// mu guards closed. Abort checks closed before its shutdown(2), because the number
	// of a closed descriptor may already belong to another connection.
	mu     sync.Mutex
	closed bool

	lifetime *time.Timer // nil when there is no lifetime limit
	drain    drain
}

// NewConn returns a Conn for a connected stream socket in blocking mode. It is for
// tests of handlers: Serve and Main make the Conn of a real worker. The Conn owns fd.
// Its limits count from this call.
func NewConn(fd int, a ipc.Assignment) *Conn { return newConn(fd, a, nil) }

// newConn is NewConn with a control channel, on which a drain may arrive. control may
// be nil.
func newConn(fd int, a ipc.Assignment, control *control) *Conn {
	c := &Conn{fd: fd, assignment: a, drain: drain{control: control}}
	c.reading.wakeFD, c.writing.wakeFD = -1, -1
	c.applyLimits()
	return c
}

// ID returns the connection's unique id, as in the master's log.
func (c *Conn) ID() string { return c.assignment.Connection }

// Service returns the name of the service that the client connected to.
func (c *Conn) Service() string { return c.assignment.Service }

// Peer returns the client's address as the log shows it: "ip:port", or a path.
func (c *Conn) Peer() string { return c.assignment.Peer }

// Local returns the address that the client connected to, in the same form.
func (c *Conn) Local() string { return c.assignment.Local }

// Setting returns one of the service's settings for this handler. It returns "" when
// the setting is missing.
func (c *Conn) Setting(key string) string { return c.assignment.Setting(key) }

// Settings returns all of the service's settings for this handler, by ascending key.
// The caller owns the slice.
func (c *Conn) Settings() []ipc.Pair { return slices.Clone(c.assignment.Settings) }

// Limits returns the limits of the connection. Read and Write enforce them. Code that
// moves bytes in another way may need to know them.
func (c *Conn) Limits() ipc.Limits { return c.assignment.Limits }

// Context returns a context that ends when the master asks this worker to finish. The
// master does that when the service stops or changes. A handler that uses the context
// can say good-bye to its client. A handler that never asks for the context finishes
// its connection as usual. The master stops a worker that takes too long with a signal.
//
// The context does not end when the master dies. The worker then serves its connection
// to the end and exits.
//
// The first call starts a goroutine that watches the control channel, which costs a
// thread. A handler that never calls Context does not pay for it. Call Context before
// the first blocking Read or Write. A deadline that is set later can end only calls
// that began after Context. For example,
//
//	stop := context.AfterFunc(c.Context(), func() { c.SetReadDeadline(time.Now()) })
//
// ends the reading of requests, and the current answer is still written.
func (c *Conn) Context() context.Context {
	c.enablePoll()
	return c.drain.context()
}

// FD returns the descriptor, for system calls that the handler makes itself. The Conn
// still owns it. Pass the number of bytes to AddBytes and errors to WrapError. Such
// calls end at the limits of the connection, but not at deadlines.
func (c *Conn) FD() int { return c.fd }

// AddBytes adds bytes that a handler moved itself, without Read and Write.
func (c *Conn) AddBytes(in, out int64) {
	c.in.Add(uint64(in))
	c.out.Add(uint64(out))
}

// MarkEOF records that a handler read the client's end of file itself, without Read.
func (c *Conn) MarkEOF() { c.readEOF.Store(true) }

// Bytes returns how many bytes were read from the client, and how many bytes the kernel
// accepted for it.
func (c *Conn) Bytes() (in, out uint64) { return c.in.Load(), c.out.Load() }

// SetReason sets the reason of a normal end of the connection. The report has this
// reason when the handler returns nil. Handler describes the other cases.
func (c *Conn) SetReason(r ipc.Reason) { c.reason = r }

// Report adds a value to the log event of this connection. For example, it may say
// which user logged in or how many requests there were. A second call with the same key
// replaces the value. Report fails when ipc.CheckValue fails, and when there are more
// than ipc.MaxValues keys.
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

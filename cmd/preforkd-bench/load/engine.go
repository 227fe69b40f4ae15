package load

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// timeout is how long one connection may take. It is counted from connect.
const timeout = 10 * time.Second

// Message is what a client sends unless told otherwise: 64 bytes that end a
// line, for servers that echo by the line.
var Message = []byte("preforkd-bench preforkd-bench preforkd-bench preforkd-bench 123\n")

// A client is one connection of a closed or open loop.
//
//	free -> connecting -> (message sent) waiting -> free
//	                 \-> failed, counted -> free
type client struct {
	fd    int       // -1 when free
	start time.Time // when connect was called
	due   time.Time // what the latency is counted from
	sent  bool
	got   int
}

// An engine runs message exchanges, one to a connection.
type engine struct {
	target  *target
	poll    *poll
	clients []client
	free    []int
	result  *Result
	buffer  [4096]byte
	last    time.Time // of the last echo
	check   time.Time // when expire is due again

	// keep takes over a connection whose message came back. Without it the
	// connection is closed.
	keep func(fd int)
}

func newEngine(addr netip.AddrPort, clients int) (*engine, error) {
	t, err := newTarget(addr)
	if err != nil {
		return nil, err
	}
	p, err := newPoll()
	if err != nil {
		return nil, err
	}
	e := &engine{target: t, poll: p, clients: make([]client, clients), result: newResult()}
	for i := range e.clients {
		e.clients[i].fd = -1
		e.free = append(e.free, clients-1-i)
	}
	return e, nil
}

// close resets what is still connected.
func (e *engine) close() {
	for i := range e.clients {
		if e.clients[i].fd >= 0 {
			reset(e.clients[i].fd)
		}
	}
	e.poll.close()
}

// quiet runs f on a thread of its own without garbage collection.
func quiet(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return f()
}

// busy returns how many connections are open.
func (e *engine) busy() int { return len(e.clients) - len(e.free) }

// begin opens a connection in a free place. Its failure is counted.
func (e *engine) begin(now, due time.Time) {
	i := e.free[len(e.free)-1]
	e.free = e.free[:len(e.free)-1]
	c := &e.clients[i]
	*c = client{fd: -1, start: now, due: due}
	fd, err := e.target.connect()
	if err != nil {
		e.fail(i, err)
		return
	}
	c.fd = fd
	// On the loopback the handshake is over when connect returns, unless the
	// server's backlog is full. So try to send first, and wait for writability
	// only when that is refused.
	if err = e.send(c); err == unix.EAGAIN || err == unix.ENOTCONN || err == unix.EINPROGRESS {
		err = e.poll.add(fd, i, unix.EPOLLOUT)
	} else if err == nil {
		err = e.poll.add(fd, i, unix.EPOLLIN)
	}
	if err != nil {
		e.fail(i, err)
	}
}

// send sends the whole message: it always fits into a fresh socket's buffer.
func (e *engine) send(c *client) error {
	n, err := unix.SendmsgN(c.fd, Message, nil, nil, unix.MSG_NOSIGNAL)
	if err != nil {
		return err
	}
	if n != len(Message) {
		return fmt.Errorf("sent %d of %d bytes", n, len(Message))
	}
	c.sent = true
	return nil
}

// handle does what an event on client i asks for.
func (e *engine) handle(i int) {
	c := &e.clients[i]
	if c.fd < 0 {
		return
	}
	if !c.sent {
		err := e.send(c)
		if err == nil {
			err = e.poll.modify(c.fd, i, unix.EPOLLIN)
		}
		if err != nil && err != unix.EAGAIN {
			e.fail(i, err)
		}
		return
	}
	n, err := unix.Read(c.fd, e.buffer[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		e.fail(i, err)
		return
	case n == 0:
		e.fail(i, errEarly)
		return
	case c.got+n > len(Message) || !bytes.Equal(e.buffer[:n], Message[c.got:c.got+n]):
		e.fail(i, errWrong)
		return
	}
	if c.got += n; c.got < len(Message) {
		return
	}
	e.last = time.Now()
	record(e.result.Latency, e.last.Sub(c.due))
	e.result.Done++
	e.result.Bytes += int64(len(Message))
	e.release(c.fd)
	c.fd = -1
	e.free = append(e.free, i)
}

func (e *engine) release(fd int) {
	if e.keep == nil {
		unix.Close(fd)
		return
	}
	unix.EpollCtl(e.poll.fd, unix.EPOLL_CTL_DEL, fd, nil)
	e.keep(fd)
}

func (e *engine) fail(i int, err error) {
	c := &e.clients[i]
	if c.fd >= 0 {
		reset(c.fd)
		c.fd = -1
	}
	e.result.Errors[kind(err)]++
	e.free = append(e.free, i)
}

// expire fails what has taken too long.
func (e *engine) expire(now time.Time) {
	for i := range e.clients {
		if c := &e.clients[i]; c.fd >= 0 && now.Sub(c.start) > timeout {
			e.fail(i, errTimeout)
		}
	}
}

// begins notes when the load begins.
func (e *engine) begins(start time.Time) { e.last, e.check = start, start.Add(time.Second) }

// turn waits for events once and handles them. Once a second it fails what has taken too
// long.
func (e *engine) turn(ctx context.Context, now time.Time) error {
	if now.After(e.check) {
		e.expire(now)
		e.check = now.Add(time.Second)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	events, err := e.poll.wait()
	if err != nil {
		return err
	}
	for i := range events {
		if key := int(events[i].Fd); key != timerKey {
			e.handle(key)
		}
	}
	return nil
}

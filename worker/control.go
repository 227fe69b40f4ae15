package worker

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A control is this end of the control channel. One goroutine reads from it at
// a time: the main one between connections, and during a connection, if its
// handler asked for a context, the watcher, which has always ended before the
// main one reads again.
type control struct {
	fd       int
	buf      []byte // of ipc.MaxMessage bytes
	draining bool   // the master has said that this worker must come to an end
	fault    error  // what the watcher found that the contract does not allow
}

func newControl(fd int) *control {
	return &control{fd: fd, buf: make([]byte, ipc.MaxMessage)}
}

// next waits for the next connection, which then lies on ipc.FDConnection, and
// returns its assignment. With held the connection lies there already.
//
// Every error is an *exitError. One with ipc.ExitOK says that there is nothing
// to do any more.
func (c *control) next(held bool) (ipc.Assignment, error) {
	if held {
		return c.assignment()
	}
	if err := c.send(ipc.Ready); err != nil {
		return ipc.Assignment{}, err
	}
	typ, body, conn, err := ipc.ReceiveConnection(c.fd, c.buf, 0)
	if conn >= 0 {
		defer unix.Close(conn)
	}
	switch {
	case err == io.EOF, err == unix.ECONNRESET:
		// The master has too many spares, or is gone, which may leave the
		// "ready" unread. Nothing was begun, so there is nothing to say.
		return ipc.Assignment{}, &exitError{code: ipc.ExitOK}
	case err == nil && typ == ipc.TypeDrain && conn < 0:
		return ipc.Assignment{}, &exitError{code: ipc.ExitOK}
	}
	a, err := decode(typ, body, err)
	if err != nil {
		return ipc.Assignment{}, err
	}
	if conn < 0 {
		return ipc.Assignment{}, violation(errors.New("an assignment for a spare, without a connection"))
	}
	if err := place(conn); err != nil {
		return ipc.Assignment{}, err
	}
	// Nothing of the connection has been read so far: had this process died,
	// it would have gone to another.
	return a, c.send(ipc.Taken)
}

// assignment waits for the assignment of a connection that is held already. A
// drain that comes sooner concerns that connection.
func (c *control) assignment() (ipc.Assignment, error) {
	for {
		typ, body, err := ipc.Receive(c.fd, c.buf, 0)
		if err == nil && typ == ipc.TypeDrain {
			c.draining = true
			continue
		}
		return decode(typ, body, err)
	}
}

// decode turns what was received into an assignment, or into the end of this
// worker.
func decode(typ ipc.Type, body []byte, err error) (ipc.Assignment, error) {
	switch {
	case err == io.EOF:
		return ipc.Assignment{}, &exitError{ipc.ExitOrphaned, errors.New("receive assignment: the master is gone")}
	case errors.Is(err, ipc.ErrVersion):
		return ipc.Assignment{}, &exitError{ipc.ExitVersion, fmt.Errorf("receive assignment: %w; this worker's binary was probably replaced while the master was running", err)}
	case err != nil:
		return ipc.Assignment{}, violation(err)
	case typ != ipc.TypeAssignment:
		return ipc.Assignment{}, violation(fmt.Errorf("unexpected message: %v", typ))
	}
	a, err := ipc.DecodeAssignment(body)
	if err != nil {
		return ipc.Assignment{}, violation(err)
	}
	return a, nil
}

func violation(err error) error {
	return &exitError{ipc.ExitProtocol, fmt.Errorf("receive assignment: %w", err)}
}

// send tells the master something that it must know before this worker goes
// on. A master that is gone needs to know nothing: what is under way goes on
// without it.
func (c *control) send(msg []byte) error {
	for {
		switch err := ipc.Send(c.fd, msg); err {
		case nil, unix.EPIPE, unix.ECONNRESET:
			return nil
		case unix.EAGAIN:
			wait := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
			if _, err := unix.Poll(wait, -1); err != nil && err != unix.EINTR {
				return &exitError{ipc.ExitProtocol, fmt.Errorf("wait for the master: %w", err)}
			}
		default:
			return &exitError{ipc.ExitProtocol, fmt.Errorf("speak to the master: %w", err)}
		}
	}
}

// place puts a connection that was received on its descriptor. The caller
// still owns conn, which is a duplicate afterwards.
func place(conn int) error {
	if err := checkConnection(conn); err != nil {
		return &exitError{ipc.ExitDescriptors, fmt.Errorf("receive connection: %w", err)}
	}
	if err := unix.Dup3(conn, ipc.FDConnection, unix.O_CLOEXEC); err != nil {
		return &exitError{ipc.ExitDescriptors, fmt.Errorf("put the connection on fd %d: %w", ipc.FDConnection, err)}
	}
	return nil
}

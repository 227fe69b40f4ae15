package worker

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A control is the worker's end of the control channel. Only one goroutine reads from
// it at a time. Between connections that is the main goroutine. During a connection it
// is the watcher, if the handler has asked for a context. The watcher has always ended
// before the main goroutine reads again.
type control struct {
	fd          int
	buf         []byte // ipc.MaxMessage bytes
	draining    bool   // the master has asked this worker to finish
	protocolErr error  // a violation of the contract that the watcher found
}

func newControl(fd int) *control {
	return &control{fd: fd, buf: make([]byte, ipc.MaxMessage)}
}

// nextAssignment waits for the next connection and returns its assignment. The
// connection is then on ipc.FDConnection. hasConn says that it is there already.
//
// Every error is an *exitError. An error with ipc.ExitOK says that nothing is left to
// do.
func (c *control) nextAssignment(hasConn bool) (ipc.Assignment, error) {
	if hasConn {
		return c.receiveAssignment()
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
		// The master has too many spares, or has exited. A master that exited may have
		// left the "ready" message unread. The worker had not begun a connection, so it
		// reports nothing.
		return ipc.Assignment{}, &exitError{code: ipc.ExitOK}
	case err == nil && typ == ipc.TypeDrain && conn < 0:
		return ipc.Assignment{}, &exitError{code: ipc.ExitOK}
	}
	a, err := decodeAssignment(typ, body, err)
	if err != nil {
		return ipc.Assignment{}, err
	}
	if conn < 0 {
		return ipc.Assignment{}, protocolError(errors.New("an assignment for a spare, without a connection"))
	}
	if err := moveToFD3(conn); err != nil {
		return ipc.Assignment{}, err
	}
	// The worker has read nothing from the connection so far. If it had died before
	// this message, the master would have given the connection to another worker.
	return a, c.send(ipc.Ack)
}

// receiveAssignment waits for the assignment of a connection that the worker already
// has. A drain that arrives before the assignment applies to that connection.
func (c *control) receiveAssignment() (ipc.Assignment, error) {
	for {
		typ, body, err := ipc.Receive(c.fd, c.buf, 0)
		if err == nil && typ == ipc.TypeDrain {
			c.draining = true
			continue
		}
		return decodeAssignment(typ, body, err)
	}
}

// decodeAssignment decodes a received message. Its error ends this worker.
func decodeAssignment(typ ipc.Type, body []byte, err error) (ipc.Assignment, error) {
	switch {
	case err == io.EOF:
		return ipc.Assignment{}, &exitError{ipc.ExitOrphaned, errors.New("receive assignment: the master is gone")}
	case errors.Is(err, ipc.ErrVersion):
		return ipc.Assignment{}, &exitError{ipc.ExitVersion, fmt.Errorf("receive assignment: %w; this worker's binary was probably replaced while the master was running", err)}
	case err != nil:
		return ipc.Assignment{}, protocolError(err)
	case typ != ipc.TypeAssignment:
		return ipc.Assignment{}, protocolError(fmt.Errorf("unexpected message: %v", typ))
	}
	a, err := ipc.DecodeAssignment(body)
	if err != nil {
		return ipc.Assignment{}, protocolError(err)
	}
	return a, nil
}

func protocolError(err error) error {
	return &exitError{ipc.ExitProtocol, fmt.Errorf("receive assignment: %w", err)}
}

// send sends a message that the master must have before this worker continues. When the
// master has exited, send succeeds: the worker serves its current connection without a
// master.
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

// sendFailure tells the master why the worker cannot become its program. It reports
// whether the master has been told.
func (c *control) sendFailure(step ipc.FailureStep, err error) bool {
	failure := ipc.Failure{Step: step}
	errors.As(err, &failure.Errno)
	msg, err := failure.Append(nil)
	return err == nil && ipc.Send(c.fd, msg) == nil
}

// moveToFD3 duplicates a received connection to ipc.FDConnection. The caller still owns
// conn.
func moveToFD3(conn int) error {
	if err := checkConnection(conn); err != nil {
		return &exitError{ipc.ExitDescriptors, fmt.Errorf("receive connection: %w", err)}
	}
	if err := unix.Dup3(conn, ipc.FDConnection, unix.O_CLOEXEC); err != nil {
		return &exitError{ipc.ExitDescriptors, fmt.Errorf("put the connection on fd %d: %w", ipc.FDConnection, err)}
	}
	return nil
}

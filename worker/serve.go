package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// serve runs the handler on the connection to its very end and tells the
// master how it went. It returns nil or an *exitError.
func serve(c *Conn, handler Handler) error {
	report, end := finish(c, handler)
	// The connection is closed before the report is sent, so that a master
	// that has the report can rely on the client having been let go.
	control := c.drain.control
	if err := sendReport(control.fd, report); err != nil && end == nil {
		end = &exitError{ipc.ExitHandler, err}
	}
	if control.fault != nil {
		return control.fault
	}
	return end
}

// finish runs the handler on the connection and closes it. It returns what
// conclude does.
func finish(c *Conn, handler Handler) (report ipc.Report, end error) {
	failure := protect(c, handler)
	report, end = conclude(c, failure, c.drain.end())
	c.Close()
	return report, end
}

// A panicked is what became of a handler that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n\n%s", p.value, p.stack) }

// maxStack bounds how much of a panic's stack goes to stderr, in bytes.
const maxStack = 16 << 10

// protect runs the handler and turns a panic in its goroutine into an error.
// One in a goroutine that the handler has started cannot be caught: it ends
// the process with the runtime's code, 2, and the connection with a reset.
func protect(c *Conn, handler Handler) (err error) {
	defer func() {
		if value := recover(); value != nil {
			stack := make([]byte, maxStack)
			err = &panicked{value, stack[:runtime.Stack(stack, false)]}
		}
	}()
	return handler(c)
}

// conclude turns what the handler returned into the worker's last words: the
// report, and the end, which is nil when it was in order. Only what the
// operator must know goes to stderr: a client that vanishes is daily business
// and stands in the master's log already.
func conclude(c *Conn, err error, drained bool) (report ipc.Report, end error) {
	in, out := c.Bytes()
	code, reason, complaint := verdict(c, err, drained)
	report = ipc.Report{BytesIn: in, BytesOut: out, Reason: reason, Values: c.values}
	if code == ipc.ExitOK {
		return report, nil
	}
	if complaint != nil {
		complaint = fmt.Errorf("connection %s: %w", c.ID(), complaint)
	}
	return report, &exitError{code, complaint}
}

// verdict decides how a connection has ended. The first case that fits counts.
func verdict(c *Conn, err error, drained bool) (code int, reason ipc.Reason, complaint error) {
	over := c.over.Load()
	var panicked *panicked
	switch {
	case errors.As(err, &panicked):
		return ipc.ExitPanic, ipc.ReasonPanic, panicked
	case over != nil && *over == ipc.ReasonIdle:
		return ipc.ExitIdle, *over, nil
	case over != nil && *over == ipc.ReasonLifetime:
		return ipc.ExitLifetime, *over, nil
	case over != nil && (err == nil || errors.Is(err, ErrAborted)):
		return ipc.ExitOK, *over, nil
	case errors.Is(err, ErrPeerGone):
		return ipc.ExitReset, ipc.ReasonReset, nil
	case drained && errors.Is(err, context.Canceled):
		return ipc.ExitOK, ipc.ReasonDrain, nil
	case err != nil:
		return ipc.ExitHandler, ipc.ReasonError, err
	case c.reason != "":
		return ipc.ExitOK, c.reason, nil
	case c.readEnd.Load():
		return ipc.ExitOK, ipc.ReasonEOF, nil
	case drained:
		return ipc.ExitOK, ipc.ReasonDrain, nil
	}
	return ipc.ExitOK, ipc.ReasonDone, nil
}

// sendReport tells the master how the connection went. A master that is gone,
// or that has left so much unread that it has other worries, is no failure of
// this worker: the exit code still says what matters.
func sendReport(control int, r ipc.Report) error {
	msg, err := r.Append(nil)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	switch err := ipc.Send(control, msg); err {
	case nil, unix.EPIPE, unix.ECONNRESET, unix.EAGAIN:
		return nil
	default:
		return fmt.Errorf("send report: %w", err)
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// serve runs the handler on the connection, closes the connection and reports the
// result to the master. It returns nil or an *exitError.
func serve(c *Conn, handler Handler) error {
	report, end := runHandler(c, handler)
	// The connection is closed before the report is sent. A master that has the report
	// can therefore rely on the connection being closed.
	control := c.drain.control
	if err := sendReport(control.fd, report); err != nil && end == nil {
		end = &exitError{ipc.ExitHandler, err}
	}
	if control.protocolErr != nil {
		return control.protocolErr
	}
	return end
}

// runHandler runs the handler on the connection and closes the connection. It returns
// the results of buildReport.
func runHandler(c *Conn, handler Handler) (report ipc.Report, end error) {
	failure := callHandler(c, handler)
	report, end = buildReport(c, failure, c.drain.stopWatching())
	c.Close()
	return report, end
}

// A panicError describes a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", p.value, p.stack) }

// maxStack is the maximum size of a panic's stack on stderr, in bytes.
const maxStack = 16 << 10

// callHandler calls the handler and turns a panic in its goroutine into an error. A
// panic in another goroutine cannot be caught. It ends the process with the runtime's
// exit code 2, and the connection with a reset.
func callHandler(c *Conn, handler Handler) (err error) {
	defer func() {
		if value := recover(); value != nil {
			stack := make([]byte, maxStack)
			err = &panicError{value, stack[:runtime.Stack(stack, false)]}
		}
	}()
	return handler(c)
}

// buildReport makes the report and the exit error from the handler's result. end is nil
// when the connection ended normally. Only what the operator must know goes to stderr.
// A client that vanishes is common, and the master's log has it already.
func buildReport(c *Conn, err error, drained bool) (report ipc.Report, end error) {
	in, out := c.Bytes()
	code, reason, message := classifyEnd(c, err, drained)
	report = ipc.Report{BytesIn: in, BytesOut: out, Reason: reason, Values: c.values}
	if code == ipc.ExitOK {
		return report, nil
	}
	if message != nil {
		message = fmt.Errorf("connection %s: %w", c.ID(), message)
	}
	return report, &exitError{code, message}
}

// classifyEnd decides how a connection has ended. The first matching case counts.
func classifyEnd(c *Conn, err error, drained bool) (code int, reason ipc.Reason, message error) {
	endReason := c.endReason.Load()
	var panicErr *panicError
	switch {
	case errors.As(err, &panicErr):
		return ipc.ExitPanic, ipc.ReasonPanic, panicErr
	case endReason != nil && *endReason == ipc.ReasonIdle:
		return ipc.ExitIdle, *endReason, nil
	case endReason != nil && *endReason == ipc.ReasonLifetime:
		return ipc.ExitLifetime, *endReason, nil
	case endReason != nil && (err == nil || errors.Is(err, ErrAborted)):
		return ipc.ExitOK, *endReason, nil
	case errors.Is(err, ErrPeerGone):
		return ipc.ExitReset, ipc.ReasonReset, nil
	case drained && errors.Is(err, context.Canceled):
		return ipc.ExitOK, ipc.ReasonDrain, nil
	case err != nil:
		return ipc.ExitHandler, ipc.ReasonError, err
	case c.reason != "":
		return ipc.ExitOK, c.reason, nil
	case c.readEOF.Load():
		return ipc.ExitOK, ipc.ReasonEOF, nil
	case drained:
		return ipc.ExitOK, ipc.ReasonDrain, nil
	}
	return ipc.ExitOK, ipc.ReasonDone, nil
}

// sendReport sends the report to the master. It is no failure of this worker when the
// master has exited, or has left so many messages unread that the report does not fit.
// The exit code still has the result.
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

package worker

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// serve runs the handler on the connection to its very end, reports, and
// returns the exit code with what stderr has to say about it.
//
// Nobody watches the control channel meanwhile. When the master goes away
// during a connection, that is the client's business least of all: the
// connection is served to its end, and only the report finds nobody.
func serve(c *Conn, handler Handler, control int) (int, error) {
	code, report, err := conclude(c, handler(c))
	// The connection is closed before the report is sent, so that a master
	// that has the report can rely on the client having been let go.
	c.Close()
	if failed := sendReport(control, report); err == nil && failed != nil {
		err = failed
	}
	return code, err
}

// conclude turns what the handler returned into the worker's last words. The
// error is what belongs on stderr: a client that vanishes is daily business
// and stands in the master's log already.
func conclude(c *Conn, err error) (code int, report ipc.Report, complaint error) {
	report = ipc.Report{BytesIn: c.in, BytesOut: c.out, Reason: c.reason}
	switch {
	case errors.Is(err, ErrPeerGone):
		report.Reason = ipc.ReasonReset
		return ipc.ExitReset, report, nil
	case err != nil:
		report.Reason = ipc.ReasonError
		return ipc.ExitHandler, report, fmt.Errorf("connection %s: %w", c.ID(), err)
	case c.reason != "":
	case c.readEnd:
		report.Reason = ipc.ReasonEOF
	default:
		report.Reason = ipc.ReasonDone
	}
	return ipc.ExitOK, report, nil
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

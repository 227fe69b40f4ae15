package worker

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

func TestHandlerResults(t *testing.T) {
	own := errors.New("no such record")
	for name, test := range map[string]struct {
		handler Handler
		code    int
		reason  ipc.Reason
		message string
	}{
		"reads to the end": {func(c *Conn) error { _, err := io.ReadAll(c); return err }, ipc.ExitOK, ipc.ReasonEOF, ""},
		"has enough":       {func(c *Conn) error { return nil }, ipc.ExitOK, ipc.ReasonDone, ""},
		"names a reason": {func(c *Conn) error {
			io.ReadAll(c)
			c.SetReason(ipc.ReasonQuitWord)
			return nil
		}, ipc.ExitOK, ipc.ReasonQuitWord, ""},
		"fails": {func(c *Conn) error {
			c.SetReason(ipc.ReasonQuitWord)
			return own
		}, ipc.ExitHandler, ipc.ReasonError, "connection c1: no such record"},
		"loses the client": {func(c *Conn) error {
			return fmt.Errorf("answer: %w", c.WrapError("write to", unix.ETIMEDOUT))
		}, ipc.ExitReset, ipc.ReasonReset, ""},
		"loses something else": {func(c *Conn) error { return unix.EPIPE }, ipc.ExitHandler, ipc.ReasonError, "connection c1: broken pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := sockettest.TCP(t)
			client.Write([]byte("hello"))
			client.CloseWrite()
			master, control := channel(t)
			defer unix.Close(master)
			defer unix.Close(control)
			end := &exitError{code: ipc.ExitOK}
			if err := serve(newConn(server, ipc.Assignment{Connection: "c1"}, newControl(control)), test.handler); err != nil {
				end = err.(*exitError)
			}
			if end.code != test.code {
				t.Errorf("exit code %s, want %s", ipc.ExitName(end.code), ipc.ExitName(test.code))
			}
			if message := fmt.Sprint(end.err); message != test.message && (end.err != nil || test.message != "") {
				t.Errorf("message %q, want %q", message, test.message)
			}
			typ, body, err := ipc.Receive(master, make([]byte, ipc.MaxMessage), unix.MSG_DONTWAIT)
			if err != nil || typ != ipc.TypeReport {
				t.Fatalf("receive: %v, %v", typ, err)
			}
			if report, err := ipc.DecodeReport(body); err != nil || report.Reason != test.reason {
				t.Errorf("report %+v, %v; want reason %q", report, err, test.reason)
			}
		})
	}
}

// A report to a master that has exited is no error.
func TestReportAfterMasterExit(t *testing.T) {
	master, control := channel(t)
	defer unix.Close(control)
	unix.Close(master)
	if err := sendReport(control, ipc.Report{Reason: ipc.ReasonEOF}); err != nil {
		t.Error(err)
	}
}

func channel(t *testing.T) (master, control int) {
	t.Helper()
	master, control, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	return master, control
}

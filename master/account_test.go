package master

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/process"
)

// Whatever a worker did with its channel, what it reported is read, and
// nothing else is taken for a report.
func TestReadReport(t *testing.T) {
	sent := ipc.Report{BytesIn: 1, BytesOut: 2, Reason: ipc.ReasonDone}
	message, err := sent.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(t *testing.T, fd int, message []byte) {
		if err := ipc.Send(fd, message); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		work     func(t *testing.T, fd int)
		reported bool
		fails    bool
	}{
		{"report", func(t *testing.T, fd int) { unix.Read(fd, make([]byte, 100)); send(t, fd, message) }, true, false},
		{"report, assignment unread", func(t *testing.T, fd int) { send(t, fd, message) }, true, false},
		{"nothing", func(t *testing.T, fd int) { unix.Read(fd, make([]byte, 100)) }, false, false},
		{"nothing, assignment unread", func(*testing.T, int) {}, false, false},
		{"garbage", func(t *testing.T, fd int) { send(t, fd, []byte("garbage, some of it")) }, false, true},
		{"no bytes", func(t *testing.T, fd int) { send(t, fd, nil) }, false, false},
		{"two reports", func(t *testing.T, fd int) { send(t, fd, message); send(t, fd, message) }, true, false},
		{"descriptors", func(t *testing.T, fd int) {
			if err := unix.Sendmsg(fd, message, unix.UnixRights(fd, fd), nil, 0); err != nil {
				t.Fatal(err)
			}
		}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs, err := ipc.NewChannel()
			if err != nil {
				t.Fatal(err)
			}
			send(t, ours, []byte("assignment"))
			c.work(t, theirs)
			unix.Close(theirs)
			var m Master
			report, err := m.readReport(&worker{child: &process.Child{Control: ours}})
			if c.fails != (err != nil) {
				t.Errorf("error %v, want one: %v", err, c.fails)
			}
			if c.reported != (report != nil) || report != nil && *report != sent {
				t.Errorf("report %v, want one: %v", report, c.reported)
			}
			if err := unix.Close(ours); err != unix.EBADF {
				t.Errorf("the channel was left open: close says %v", err)
			}
		})
	}
}

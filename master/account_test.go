package master

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// Whatever a worker did with its channel, what it reported is read, and
// nothing else is taken for a report.
func TestHearAWorkerThatHasEnded(t *testing.T) {
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
		{"two reports", func(t *testing.T, fd int) { send(t, fd, message); send(t, fd, message) }, true, true},
		{"ready", func(t *testing.T, fd int) { send(t, fd, ipc.Ready) }, false, true},
		{"report and ready", func(t *testing.T, fd int) { send(t, fd, message); send(t, fd, ipc.Ready) }, true, true},
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
			m := Master{table: newTable()}
			w := &worker{
				service: &service{pool: newPool(0, 0), Service: config.Service{ConnectionsPerWorker: 1}},
				child:   &process.Child{Control: ours},
				state:   serving,
				served:  1,
			}
			m.hear(w)
			if c.fails != (w.breach != nil) {
				t.Errorf("error %v, want one: %v", w.breach, c.fails)
			}
			if c.reported != (w.report != nil) || w.report != nil && w.report.BytesOut != sent.BytesOut {
				t.Errorf("report %v, want one: %v", w.report, c.reported)
			}
			unix.Close(ours)
		})
	}
}

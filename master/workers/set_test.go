package workers

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/process"
)

// Whatever a worker did with its channel before it ended, what it reported is
// read, and nothing else is taken for a report.
func TestLastMessages(t *testing.T) {
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
		{"report", func(t *testing.T, fd int) { unix.Read(fd, make([]byte, 1000)); send(t, fd, message) }, true, false},
		{"report, assignment unread", func(t *testing.T, fd int) { send(t, fd, message) }, true, false},
		{"nothing", func(t *testing.T, fd int) { unix.Read(fd, make([]byte, 1000)) }, false, false},
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
			st := newStage(t, sdkProgram)
			w := st.serving()
			c.work(t, st.ends[w.PID()])
			st.die(w)
			st.set.ReapAll()
			if !w.Reaped() || st.set.Len() != 0 {
				t.Fatal("the worker was not reaped")
			}
			if c.fails != (w.Violation() != nil) {
				t.Errorf("violation %v, want one: %v", w.Violation(), c.fails)
			}
			if report := w.Report(); c.reported != (report != nil) || report != nil && report.BytesOut != sent.BytesOut {
				t.Errorf("report %v, want one: %v", report, c.reported)
			}
			if last := st.told[len(st.told)-1]; !strings.HasPrefix(last, "exited ") || !strings.HasSuffix(last, "connection true") {
				t.Errorf("the sink was told %q", st.told)
			}
		})
	}
}

// The exit that comes before the registration is the worker's, and no other's.
func TestEarlyExit(t *testing.T) {
	st := newStage(t, sdkProgram)
	w := st.start(NewWorker(st.pool, st.connection()))
	st.zombies = append(st.zombies, process.Exit{Pid: 7})
	st.die(w)
	st.set.ReapAll()
	if !st.set.HasEarlyExits() || len(st.told) != 0 {
		t.Fatalf("told %q", st.told)
	}
	if st.set.Register(w) {
		t.Error("a worker that has ended is registered as live")
	}
	if len(st.told) != 2 || !strings.HasPrefix(st.told[1], "exited ") { // its channel was found closed before
		t.Errorf("told %q", st.told)
	}
	if unknown := st.set.DropEarlyExits(false); len(unknown) != 1 || unknown[0].Pid != 7 {
		t.Errorf("%v are unknown, want 7", unknown)
	}
}

// What a watched worker says wakes the loop, and what another says does not.
func TestReady(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 2\n")
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { st.set.Poll(stop); close(ended) }()
	defer func() { close(stop); st.set.poller.close(); <-ended }()
	other := st.serving()
	st.say(other, []byte("not to be read before its end"))
	w := st.starting(time.Now())
	st.say(w, ipc.Ready)
	pids := <-st.set.Ready()
	if !slices.Equal(pids, []int{w.PID()}) {
		t.Fatalf("%v are ready, want %d", pids, w.PID())
	}
	st.set.ReadReady(append(pids, other.PID(), 1))
	if w.State() != Idle || other.Violation() != nil {
		t.Errorf("the spare is %v, the other one %v", w.State(), other.Violation())
	}
	st.hangUp(w)
	st.set.ReadReady(<-st.set.Ready())
	if w.State() != Broken {
		t.Errorf("a spare that has closed its channel is %v", w.State())
	}
}

// A drain reaches a worker that has a connection, and the assignment before it.
func TestDrain(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 1\n")
	w, spare := st.serving(), st.spare(time.Now())
	w.Drain()
	spare.Drain()
	buf := make([]byte, ipc.MaxMessage)
	for _, want := range []ipc.Type{ipc.TypeAssignment, ipc.TypeDrain} {
		if got, _, err := ipc.Receive(st.ends[w.PID()], buf, unix.MSG_DONTWAIT); got != want || err != nil {
			t.Errorf("received %v, %v, want %v", got, err, want)
		}
	}
	if got, _, err := ipc.Receive(st.ends[spare.PID()], buf, unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("a spare received %v, %v", got, err)
	}
	w.channel.Close()
	w.Drain() // nothing to be told over
}

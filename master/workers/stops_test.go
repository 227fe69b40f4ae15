package workers

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/process"
)

// The Sink is told once that a worker is stopped, and once that it goes on, also
// of one that was stopped before it was registered; and whoever was reaped is not
// stopped any more.
func TestStops(t *testing.T) {
	st := newStage(t, "program = ['/bin/cat']\n")
	var queue []process.Stop
	st.set.stops.next = func() (process.Stop, bool) {
		if len(queue) == 0 {
			return process.Stop{}, false
		}
		first := queue[0]
		queue = queue[1:]
		return first, true
	}
	check := func(stops ...process.Stop) {
		queue = stops
		st.set.CheckStops()
	}
	a, b := st.serving(), st.serving()
	late := st.start(NewWorker(st.pool, st.connection()))
	if st.set.StopsDue() != nil {
		t.Error("the kernel is to be asked, though no child has changed")
	}
	st.set.Reap(false)
	if st.set.StopsDue() == nil {
		t.Error("the kernel is not to be asked after SIGCHLD")
	}
	check(process.Stop{Pid: a.PID(), Signal: unix.SIGSTOP}, process.Stop{Pid: late.PID(), Signal: unix.SIGTTOU},
		process.Stop{Pid: b.PID(), Continued: true}, process.Stop{Pid: 1, Signal: unix.SIGSTOP})
	if st.set.StopsDue() != nil {
		t.Error("the kernel is to be asked without a further SIGCHLD")
	}
	check(process.Stop{Pid: a.PID(), Signal: unix.SIGTSTP})
	st.set.Register(late)
	if n := len(slices.Collect(st.set.Stopped())); n != 2 || a.StoppedBy() != unix.SIGTSTP || late.StoppedBy() != unix.SIGTTOU {
		t.Errorf("%d are stopped, %v and %v", n, a.StoppedBy(), late.StoppedBy())
	}
	check(process.Stop{Pid: late.PID(), Continued: true}, process.Stop{Pid: 1, Continued: true})
	st.die(a)
	st.set.ReapAll()
	if n := len(slices.Collect(st.set.Stopped())); n != 0 || len(st.set.stops.early) != 0 {
		t.Errorf("%d are stopped, and %v", n, st.set.stops.early)
	}
	want := []string{
		fmt.Sprintf("stopped %d by %v", a.PID(), unix.SIGSTOP),
		fmt.Sprintf("stopped %d by %v", late.PID(), unix.SIGTTOU),
		fmt.Sprintf("continued %d", late.PID()),
		fmt.Sprintf("exited %d, serving, connection true", a.PID()),
	}
	if !slices.Equal(st.told, want) {
		t.Errorf("told %q, want %q", st.told, want)
	}
	// Strangers that stop do not fill the memory, and children that stop all the
	// time do not keep the loop.
	st.set.stops.next = func() (process.Stop, bool) {
		st.nextPID++
		return process.Stop{Pid: st.nextPID, Signal: unix.SIGSTOP}, true
	}
	st.set.CheckStops()
	if n := len(st.set.stops.early); n > maxEarlyStops || st.set.StopsDue() == nil {
		t.Errorf("%d strangers are remembered, asked again: %v", n, st.set.StopsDue() != nil)
	}
}

// A worker whose channel the kernel does not watch is no breaker of the contract:
// what it says is read with a delay, until the kernel watches again.
func TestUnwatched(t *testing.T) {
	st := newStage(t, sdkProgram+"spares = 2\n")
	add := st.set.poller.add
	st.set.poller.add = func(int, uint32, int32) error { return unix.ENOSPC }
	now := time.Now()
	w, gone := st.starting(now), st.starting(now)
	if len(st.told) > 0 || w.Violation() != nil || st.set.Unwatched() == nil || st.set.UnwatchedDue() == nil {
		t.Fatalf("told %q, violation %v, %v", st.told, w.Violation(), st.set.Unwatched())
	}
	st.say(w, ipc.Ready)
	st.die(gone)
	st.set.ReapAll()
	<-st.set.UnwatchedDue()
	st.set.ReadUnwatched()
	if w.State() != Idle || st.set.UnwatchedDue() == nil || !errors.Is(st.set.Unwatched(), unix.ENOSPC) {
		t.Errorf("%v, %v", w.State(), st.set.Unwatched())
	}
	if n := st.logs.FilterMessage("control channels are read with a delay").Len(); n != 1 {
		t.Errorf("logged %d times", n)
	}
	st.set.poller.add = add
	st.set.ReadUnwatched()
	if st.set.Unwatched() != nil || st.set.UnwatchedDue() != nil {
		t.Errorf("still read with a delay: %v", st.set.Unwatched())
	}
	stop := make(chan struct{})
	defer close(stop)
	go st.set.Poll(stop)
	if st.pool.Assign(st.connection(), now) != w {
		t.Fatal("the spare was not given the connection")
	}
	st.say(w, ipc.Ack)
	st.set.ReadReady(<-st.set.Ready())
	if w.State() != Serving || st.logs.FilterMessage("control channels are watched again").Len() != 1 {
		t.Errorf("%v", w.State())
	}
}

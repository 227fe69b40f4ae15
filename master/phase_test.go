package master

import (
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// Each event leads to one phase, and none leads back.
func TestNextPhase(t *testing.T) {
	for _, c := range []struct {
		event phaseEvent
		want  [4]phase // from running, draining, terminating, killing
	}{
		{drainRequested, [4]phase{draining, draining, terminating, killing}},
		{interrupted, [4]phase{draining, terminating, killing, killing}},
		{quitRequested, [4]phase{terminating, terminating, terminating, killing}},
		{timedOut, [4]phase{draining, terminating, killing, killing}},
		{orphansLeft, [4]phase{terminating, terminating, terminating, killing}},
	} {
		for from, want := range c.want {
			if got := phase(from).next(c.event); got != want {
				t.Errorf("event %d while %v: %v, want %v", c.event, phase(from), got, want)
			}
		}
	}
}

// An event advances by one phase, however often the loop asks whether it is done:
// questions have no effects.
func TestAdvanceOnce(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	st.services.cfg.KillDelay = time.Hour
	st.reserved()
	st.look()
	if st.advance(drainRequested, "test"); st.phase.is() != draining || !st.loop.isStopping() {
		t.Fatalf("%v after a drain", st.phase.is())
	}
	st.advance(drainRequested, "again")
	st.advance(timedOut, "")
	for range 3 {
		if st.isIdle() || st.phase.is() != terminating {
			t.Fatalf("idle %v, %v after one timeout", st.isIdle(), st.phase.is())
		}
		st.orphans()
	}
	if n := len(st.events(logging.EventDraining)); n != 1 {
		t.Errorf("%d times draining", n)
	}
	if sig := st.phase.signal(); sig != unix.SIGTERM {
		t.Errorf("the workers have had %v", sig)
	}
	st.advance(interrupted, "")
	st.advance(interrupted, "")
	if st.phase.is() != killing || len(st.events("stopping workers")) != 2 {
		t.Errorf("%v, %v", st.phase.is(), st.events("stopping workers"))
	}
}

// What a worker has left behind gets SIGTERM once, and then the whole delay,
// however short the drain was.
func TestOrphansHaveTheDelay(t *testing.T) {
	if err := process.BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	// A process that has ended, as a worker, and what it has left behind.
	cmd := exec.Command("/bin/sh", "-c", `(trap 'sleep 0.2; exit 7' TERM; echo $(sh -c 'echo $PPID'); while :; do sleep 0.05; done) &`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var orphan int
	if _, err := fmt.Fscan(out, &orphan); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	st := newStage(t, spareKeys)
	defer st.end()
	st.services.cfg.KillDelay = time.Hour
	st.workers.NoteLed(cmd.Process.Pid)
	if found := st.orphans(); !slices.Equal(found, []int{orphan}) {
		unix.Kill(orphan, unix.SIGKILL)
		t.Fatalf("orphans %v, want %d", found, orphan)
	}
	st.phase.timeout = time.After(0) // as of --drain-timeout 0s
	for range 5 {                    // as the loop does while they are there
		st.advance(orphansLeft, "")
	}
	if st.phase.is() != terminating {
		t.Errorf("%v", st.phase.is())
	}
	select {
	case <-st.phase.timeout:
		t.Error("the delay of the drain is still in force")
	default:
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(orphan, &status, 0, nil); err != nil || status.ExitStatus() != 7 {
		t.Errorf("it ended with %#x (%v), want the exit code of its cleaning up", status, err)
	}
}

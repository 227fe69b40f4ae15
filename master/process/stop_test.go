package process

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A child that is stopped is told once, with the signal, and told again when it
// goes on. It is not reaped by that.
func TestNextStop(t *testing.T) {
	// SIGTSTP would not stop it in a process group that is orphaned (setpgid(2)).
	cmd := exec.Command("/bin/sh", "-c", "kill -STOP $$; exit 7")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	next := func() Stop {
		t.Helper()
		for end := time.Now().Add(slowtest.Scale(time.Minute)); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if stop, ok := NextStop(); ok {
				return stop
			}
		}
		t.Fatal("nothing is told")
		return Stop{}
	}
	if got, want := next(), (Stop{Pid: cmd.Process.Pid, Signal: unix.SIGSTOP}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, ok := NextStop(); ok {
		t.Errorf("told twice: %+v", got)
	}
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, want := next(), (Stop{Pid: cmd.Process.Pid, Continued: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v", cmd.ProcessState)
	}
}

package stub

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A process with an alarm is killed when nobody has the pipe's other end any more, and not
// before. One that has an open file of its own is not disturbed by another's.
func TestAlarm(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	_, report := socketpair(t, unix.SOCK_DGRAM)
	e := Entry{Report: 3, Alarm: 4, Path: needtest.Program(t, "sleep")}
	image, err := e.Image()
	if err != nil {
		t.Fatal(err)
	}
	path := memfd(t, image)
	var processes []*exec.Cmd
	for range 2 {
		alarm, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", pipe[0]))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "1000")
		cmd.ExtraFiles = []*os.File{report, alarm}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		alarm.Close()
		defer cmd.Process.Kill()
		processes = append(processes, cmd)
	}
	for _, p := range processes {
		slowtest.Await(t, "the program", func() bool {
			name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.Process.Pid))
			return err == nil && string(name) == "sleep\n"
		})
	}
	time.Sleep(50 * time.Millisecond)
	for _, p := range processes {
		if err := p.Process.Signal(syscall.Signal(0)); err != nil {
			t.Fatalf("it has ended before: %v", err)
		}
	}
	unix.Close(pipe[1])
	for _, p := range processes {
		var exit *exec.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("it has ended with %v", err)
		}
	}
}

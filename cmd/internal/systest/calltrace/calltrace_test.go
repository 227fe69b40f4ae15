package calltrace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// startShell starts a shell that runs a script when it is told.
func startShell(t *testing.T, script string) (pid int, run func() (stdout string)) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read line; "+script)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(slowtest.Scale(30*time.Second), func() { cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	return cmd.Process.Pid, func() string {
		stdin.Close()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return stdout.String()
	}
}

// asTracer has this program trace a process. It is "PID", or "PID CALL ERROR" for the first
// call of this name that the process makes itself. It prints what it sees.
const asTracer = "PREFORKD_TEST_TRACER"

func TestMain(m *testing.M) {
	text := os.Getenv(asTracer)
	if text == "" {
		os.Exit(m.Run())
	}
	var pid int
	var name string
	var errno unix.Errno
	_, _ = fmt.Sscan(text, &pid, &name, &errno)
	err := Run(pid, func() { fmt.Println("attached") }, func(c Call) unix.Errno {
		fmt.Println(c.Process.PID == pid, c.Process.Executed, c.Process.Born, c.Name)
		if c.Name == name && c.Process.PID == pid {
			return errno
		}
		return 0
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// startTracer starts a tracer, and returns what waits for its end.
func startTracer(t *testing.T, how ...any) (cmd *exec.Cmd, seen func() []string) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asTracer+"="+fmt.Sprintln(how...))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if lines.Scan(); strings.Contains(lines.Text(), unix.EPERM.Error()) {
		needtest.Skip(t, "needs the right to trace processes")
	} else if lines.Text() != "attached" {
		t.Fatalf("the tracer says %q", lines.Text())
	}
	return cmd, func() (seen []string) {
		for lines.Scan() {
			seen = append(seen, lines.Text())
		}
		_ = cmd.Wait() // it may have been killed
		return seen
	}
}

// All calls are seen, of a process, of the ones that it starts, and of what it executes.
func TestTrace(t *testing.T) {
	pid, run := startShell(t, "/bin/true; exec /bin/echo hello")
	_, seen := startTracer(t, pid)
	if got := run(); got != "hello\n" {
		t.Errorf("it says %q", got)
	}
	calls := seen()
	for _, want := range []string{
		"true 0 0 wait4", "true 0 0 execve", "true 1 0 write", "false 0 0 execve", "false 1 0 exit_group",
	} {
		if !slices.Contains(calls, want) {
			t.Errorf("%q is missing in %q", want, calls)
		}
	}
}

// One call fails, of one process, and the others go well.
func TestFault(t *testing.T) {
	pid, run := startShell(t, "/bin/echo one; echo two || exec /bin/echo three")
	_, seen := startTracer(t, pid, "write", int(unix.ENOSPC))
	if got := run(); got != "one\nthree\n" {
		t.Errorf("it says %q", got)
	}
	if calls := seen(); calls[len(calls)-1] != "true 0 0 write" {
		t.Errorf("the last call that was seen is %q", calls[len(calls)-1])
	}
}

// A close that fails has closed.
func TestFaultOfClose(t *testing.T) {
	pid, run := startShell(t, "exec 9</dev/null; exec 9<&-; test -e /proc/$$/fd/9 && echo open || echo closed")
	startTracer(t, pid, "close", int(unix.EIO))
	if got := run(); got != "closed\n" {
		t.Errorf("it is %q", got)
	}
}

// The end of a tracer leaves the process alone.
func TestEnd(t *testing.T) {
	pid, run := startShell(t, "echo hello")
	tracer, seen := startTracer(t, pid, "write", int(unix.EIO))
	if err := tracer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	seen()
	if got := run(); got != "hello\n" {
		t.Errorf("it says %q", got)
	}
}

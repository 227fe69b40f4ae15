package stub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
)

// A cell is an Init with its namespaces.
type cell struct {
	cmd     *exec.Cmd
	control int
}

// private keeps the mounts of a cell from those of the machine.
var private = Mount{Target: "/", Flags: unix.MS_REC | unix.MS_PRIVATE}

// start starts an Init and returns it with its first message. It ends with the
// test.
func (m target) start(t *testing.T, i Init, path string) (*cell, []byte) {
	t.Helper()
	if path == "" {
		i.Control = 3
		image, err := i.image(m.goarch)
		if err != nil {
			t.Fatal(err)
		}
		path = file(t, image)
	}
	ours, theirs := socketpair(t, unix.SOCK_SEQPACKET)
	timeout := unix.NsecToTimeval(int64(slowtest.Scale(time.Minute)))
	if err := unix.SetsockoptTimeval(ours, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	c := &cell{cmd: m.command(path, "init"), control: ours}
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Setsid: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() { c.end() })
	return c, c.receive(t)
}

// receive returns the next message. It is empty at end of file.
func (c *cell) receive(t *testing.T) []byte {
	t.Helper()
	var message [4096]byte
	n, err := unix.Read(c.control, message[:])
	for err == unix.EINTR { // by a signal of Go's, as there is a timeout (signal(7))
		n, err = unix.Read(c.control, message[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return message[:n]
}

// ask returns the answer to a request.
func (c *cell) ask(t *testing.T, request byte) (empty bool) {
	t.Helper()
	if _, err := unix.Write(c.control, []byte{request}); err != nil {
		t.Fatal(err)
	}
	empty, err := ParseAnswer(c.receive(t))
	if err != nil {
		t.Fatal(err)
	}
	return empty
}

// end closes the control socket, waits for the end of the Init and returns its
// exit code.
func (c *cell) end() int {
	if c.cmd.ProcessState == nil {
		unix.Shutdown(c.control, unix.SHUT_RDWR)
		defer time.AfterFunc(slowtest.Scale(time.Minute), func() { c.cmd.Process.Kill() }).Stop()
		c.cmd.Wait()
	}
	return c.cmd.ProcessState.ExitCode()
}

// newCell returns a cell that is ready.
func newCell(t *testing.T, m target, mounts ...Mount) *cell {
	t.Helper()
	// No test of a process that does not end waits for 5 s.
	c, first := m.start(t, Init{Mounts: append([]Mount{private}, mounts...), killNaps: 30}, "")
	if err := ParseReady(first); err != nil {
		t.Fatal(err)
	}
	return c
}

// enter starts a program in a cell, as a child of this process. The caller waits
// for it. An Init whose test has failed does not end before it was waited for: the
// kernel waits for everything in the namespace.
func (c *cell) enter(t *testing.T, out io.Writer, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := &exec.Cmd{Path: needtest.Program(t, args[0]), Args: args, Env: env, Stdout: out}
	if err := boxtest.InsideProcess(c.cmd.Process.Pid, unix.CLONE_NEWPID|unix.CLONE_NEWNS|unix.CLONE_NEWUTS, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// output runs a program in a cell to its end.
func (c *cell) output(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := c.enter(t, &out, nil, args...).Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return out.String()
}

// waitEmpty waits until nothing is left.
func (c *cell) waitEmpty(t *testing.T) {
	t.Helper()
	slowtest.Await(t, "nothing is left", func() bool { return c.ask(t, RequestCheck) })
}

// The Init makes the mounts and sets the host name, for its cell only. It keeps
// no descriptor but its control socket.
func TestCell(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		directory := t.TempDir()
		c, first := m.start(t, Init{Hostname: "cell-of-a-test", Mounts: []Mount{
			private,
			{"a-source", directory, "tmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "size=64k,nr_inodes=7,mode=1777"},
			{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		}}, "")
		if err := ParseReady(first); err != nil {
			t.Fatal(err)
		}
		if fds := descriptors(t, c.cmd.Process.Pid); m == own && !slices.Equal(fds, []string{"3"}) {
			t.Errorf("open descriptors: %q", fds)
		}
		if out := c.output(t, "uname", "-n"); out != "cell-of-a-test\n" {
			t.Errorf("the host name is %q", out)
		}
		out := c.output(t, "cat", "/proc/mounts")
		if want := "a-source " + directory + " tmpfs rw,nosuid,noexec,relatime,size=64k,nr_inodes=7"; !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
		// Only pid 1 and the program itself.
		out = c.output(t, "sh", "-c", "cd /proc; echo [0-9]*")
		if pids := strings.Fields(out); len(pids) != 2 || pids[0] != "1" {
			t.Errorf("processes: %q", pids)
		}
		mounts, err := os.ReadFile("/proc/mounts")
		if err != nil || bytes.Contains(mounts, []byte(directory)) {
			t.Errorf("on the machine, too: %v, %s", err, mounts)
		}
		if code := c.end(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

func descriptors(t *testing.T, pid int) (fds []string) {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		fds = append(fds, filepath.Base(path))
	}
	return fds
}

// The answers say whether anything is left, and a kill leaves nothing.
func TestAnswers(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		c := newCell(t, m)
		for range 3 {
			if !c.ask(t, RequestCheck) || !c.ask(t, RequestKill) {
				t.Error("a new cell is not empty")
			}
		}
		sleep := c.enter(t, nil, nil, "sleep", "1000000")
		if c.ask(t, RequestCheck) {
			t.Error("empty with a program")
		}
		// It is dead and stays a zombie until its parent, this process, waits.
		if c.ask(t, RequestKill) || c.ask(t, RequestCheck) {
			t.Error("empty with a zombie")
		}
		if err := sleep.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("the program: %v", err)
		}
		if !c.ask(t, RequestCheck) || !c.ask(t, RequestKill) {
			t.Error("not empty after the program's end")
		}
	})
}

// Orphans are children of the Init. They leave no zombie, whether they end
// or are killed.
func TestOrphans(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		c := newCell(t, m)
		c.output(t, "sh", "-c", "sleep 0.01 >/dev/null & sleep 0.02 >/dev/null & setsid sleep 0.03 >/dev/null &")
		c.waitEmpty(t)
		c.output(t, "sh", "-c", "sleep 1000000 >/dev/null & setsid sleep 1000000 >/dev/null & trap '' TERM HUP; (sleep 1000000; sleep 1000000) >/dev/null &")
		if c.ask(t, RequestCheck) {
			t.Error("empty with orphans")
		}
		// A slow machine may need more than the short time of the tests.
		c.ask(t, RequestKill)
		c.waitEmpty(t)
	})
}

// A program can make a process that is nobody's child in the cell: clone(2) with
// CLONE_PARENT makes it a child of the master. The Init sees and kills it as well.
func TestCloneParent(t *testing.T) {
	needtest.Root(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	eachTarget(t, func(t *testing.T, m target) {
		c := newCell(t, m)
		before := boxtest.Children(t)
		program := c.enter(t, nil, []string{helper + "=escape"}, self)
		if err := program.Wait(); err != nil {
			t.Fatal(err)
		}
		var escaped []int
		for _, pid := range boxtest.Children(t) {
			if !slices.Contains(before, pid) {
				escaped = append(escaped, pid)
			}
		}
		if len(escaped) != 1 {
			t.Fatalf("%d processes have become children of this one", len(escaped))
		}
		reaped := false
		t.Cleanup(func() {
			if !reaped {
				unix.Kill(escaped[0], unix.SIGKILL)
				unix.Wait4(escaped[0], nil, 0, nil)
			}
		})
		if c.ask(t, RequestCheck) {
			t.Error("empty, but one has escaped")
		}
		c.ask(t, RequestKill)
		reaped = true
		var status unix.WaitStatus
		if _, err := unix.Wait4(escaped[0], &status, 0, nil); err != nil || status.Signal() != unix.SIGKILL {
			t.Errorf("%v, %v", status, err)
		}
		if !c.ask(t, RequestCheck) {
			t.Error("not empty")
		}
	})
}

// escape makes a process that waits for ever, a child of this one's parent.
func escape() {
	pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	for pid == 0 {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// No signal from within the cell does anything to the Init.
func TestSignalsFromWithin(t *testing.T) {
	needtest.Root(t)
	// The emulator has handlers, which are not the stub's.
	c := newCell(t, own)
	c.output(t, "sh", "-c", "s=1; while [ $s -le 64 ]; do kill -$s 1; s=$((s+1)); done 2>/dev/null; true")
	if !c.ask(t, RequestCheck) {
		t.Error("something is left")
	}
}

// Without a master an Init stays until nothing is left: neither a child of the master
// nor an orphan. Then it ends.
func TestEnd(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		for _, wrong := range []string{"", "x", "\x00"} {
			c := newCell(t, m)
			sleep := c.enter(t, nil, nil, "sleep", "1000000")
			var pid strings.Builder
			orphan := c.enter(t, &pid, nil, "sh", "-c", "setsid sleep 1000000 >/dev/null & echo $!")
			if err := orphan.Wait(); err != nil {
				t.Fatal(err)
			}
			if wrong != "" {
				if _, err := unix.Write(c.control, []byte(wrong)); err != nil {
					t.Fatal(err)
				}
			} else {
				unix.Shutdown(c.control, unix.SHUT_WR)
			}
			c.output(t, "kill", "-0", strings.TrimSpace(pid.String()))
			sleep.Process.Kill()
			sleep.Wait()
			c.output(t, "kill", strings.TrimSpace(pid.String()))
			if code := c.end(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		}
	})
}

// With EndWithMaster, what is in the namespace ends at end of file.
func TestEndWithMaster(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		c, first := m.start(t, Init{Mounts: []Mount{private}, EndWithMaster: true}, "")
		if err := ParseReady(first); err != nil {
			t.Fatal(err)
		}
		program := c.enter(t, nil, nil, "sleep", "1000000")
		unix.Shutdown(c.control, unix.SHUT_WR)
		// Somebody has to reap it before the Init can end.
		err := program.Wait()
		if status := program.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != unix.SIGKILL {
			t.Errorf("it ends with %v", err)
		}
		if code := c.end(); code != 0 {
			t.Errorf("the Init exits with %d", code)
		}
	})
}

// Whoever has a descriptor of a mount of the cell is in it, as long as he has it.
func TestMountInUse(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		directory := t.TempDir()
		c := newCell(t, m, Mount{"private", directory, "tmpfs", 0, ""}, Mount{"proc", "/proc", "proc", 0, ""})
		for _, path := range []string{directory, "/proc"} {
			for range 3 {
				if !c.ask(t, RequestCheck) {
					t.Fatal("a new cell is in use")
				}
			}
			fd, err := unix.Open(fmt.Sprintf("/proc/%d/root%s", c.cmd.Process.Pid, path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if c.ask(t, RequestCheck) {
				t.Errorf("somebody has %s, and the cell is empty", path)
			}
			unix.Close(fd)
		}
		if !c.ask(t, RequestCheck) {
			t.Error("the cell is in use for ever")
		}
	})
}

// A tmpfs is new after a renewal, and there is none while anybody is there.
func TestRenew(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		directory := t.TempDir()
		c := newCell(t, m, Mount{"private", directory, "tmpfs", unix.MS_NOSUID, "size=64k,mode=1777"})
		c.output(t, "touch", directory+"/file")
		sleep := c.enter(t, nil, nil, "sleep", "1000000")
		if c.ask(t, RequestRenew) {
			t.Error("renewed while somebody is there")
		}
		if files := c.output(t, "ls", directory); files != "file\n" {
			t.Errorf("files %q", files)
		}
		sleep.Process.Kill()
		sleep.Wait()
		for range 3 {
			if !c.ask(t, RequestRenew) {
				t.Fatal("not renewed")
			}
			if files := c.output(t, "sh", "-c", "ls "+directory+"; touch "+directory+"/file"); files != "" {
				t.Errorf("files %q", files)
			}
		}
		if n := strings.Count(c.output(t, "cat", "/proc/mounts"), directory); n != 1 {
			t.Errorf("mounted %d times", n)
		}
	})
}

// A step that fails arrives with its errno, and there is no cell.
func TestInitFailures(t *testing.T) {
	needtest.Root(t)
	for _, c := range []struct {
		init Init
		want Failure
	}{
		{Init{Hostname: strings.Repeat("x", 65)}, Failure{Step{Action: SetHostname}, unix.EINVAL}},
		{Init{Mounts: []Mount{private, {"x", "/nowhere", "tmpfs", 0, ""}}}, Failure{Step{MakeMount, 1}, unix.ENOENT}},
		{Init{Mounts: []Mount{private, private, {"x", "/tmp", "no-such-type", 0, ""}}}, Failure{Step{MakeMount, 2}, unix.ENODEV}},
	} {
		eachTarget(t, func(t *testing.T, m target) {
			cell, first := m.start(t, c.init, "")
			if err := ParseReady(first); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if code := cell.end(); code != ExitFailed {
				t.Errorf("exit code %d", code)
			}
		})
	}
	// The rest does not fail by itself. A filter makes it.
	image, err := (&Init{Control: 3}).Image()
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, image)
	for call, want := range map[uint32]Action{unix.SYS_RT_SIGACTION: IgnoreChildren, unix.SYS_CLOSE_RANGE: CloseDescriptors} {
		outer := Entry{Report: 2, NoNewPrivileges: true, Filter: refuse(call, unix.EXFULL), Path: path}
		outerImage, err := outer.Image()
		if err != nil {
			t.Fatal(err)
		}
		cell, first := own.start(t, Init{}, file(t, outerImage))
		if err := ParseReady(first); !errors.Is(err, Failure{Step{Action: want}, unix.EXFULL}) {
			t.Errorf("%v, want %v", err, want)
		}
		if code := cell.end(); code != ExitFailed {
			t.Errorf("exit code %d", code)
		}
	}
}

// Not as pid 1, an Init refuses to live: it would kill all of the machine.
func TestInitIsFirst(t *testing.T) {
	eachTarget(t, func(t *testing.T, m target) {
		image, err := (&Init{Control: 3}).image(m.goarch)
		if err != nil {
			t.Fatal(err)
		}
		// Its message has the form of an entry's.
		r := m.runImage(t, file(t, image), nil, "init")
		if want := (Failure{Step{Action: CheckFirst}, unix.EPERM}); r.failure != want || r.code != ExitFailed {
			t.Errorf("%+v, want %v", r, want)
		}
	})
}

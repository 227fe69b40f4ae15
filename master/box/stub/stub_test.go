package stub

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// helper is the environment variable that makes this program a helper process.
const helper = "STUB_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "":
		goleak.VerifyTestMain(m)
	case "show":
		show()
	case "escape":
		escape()
	}
}

// shown is what a program was given.
type shown struct{ Args, Env []string }

func show() {
	json.NewEncoder(os.Stdout).Encode(shown{os.Args, os.Environ()})
}

// emulators are what runs the programs of a machine that this one is not.
var emulators = map[string]string{"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}

// A target is a machine that images are made for.
type target struct {
	goarch   string
	emulator string // "" if it is this machine
}

// eachTarget runs a test on both machines.
func eachTarget(t *testing.T, test func(*testing.T, target)) {
	for goarch, emulator := range emulators {
		t.Run(goarch, func(t *testing.T) {
			if goarch == runtime.GOARCH {
				test(t, target{goarch: goarch})
			} else {
				test(t, target{goarch, needtest.Program(t, emulator)})
			}
		})
	}
}

// own is this machine.
var own = target{goarch: runtime.GOARCH}

// memfd returns the path of an image in memory, for the children of this process.
func memfd(t testing.TB, image []byte) string {
	t.Helper()
	fd, err := unix.MemfdCreate("stub", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Write(fd, image); n != len(image) || err != nil {
		t.Fatal(n, err)
	}
	// A program that is open for writing is not executed (ETXTBSY). The number
	// is above those that a child gets.
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	kept, err := unix.FcntlInt(uintptr(again), unix.F_DUPFD_CLOEXEC, 100)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(kept) })
	return fmt.Sprintf("/proc/self/fd/%d", kept)
}

// file returns the path of an image in a file that every user may execute.
func file(t testing.TB, image []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stub")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "image")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, image, 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// command returns a command that runs an image with arguments, the first of which
// is the program's name.
func (m target) command(path string, args ...string) *exec.Cmd {
	if m.emulator == "" {
		return &exec.Cmd{Path: path, Args: args}
	}
	return &exec.Cmd{Path: m.emulator, Args: append([]string{m.emulator, "-0", args[0], path}, args[1:]...)}
}

// A result is what became of an entry and of its program.
type result struct {
	out     string
	code    int // -1 after a signal
	signal  syscall.Signal
	failure Failure // the zero value if there was no report
}

// run runs an entry with arguments and returns when it has ended. prepare may
// change the command.
func (m target) run(t *testing.T, e Entry, prepare func(*exec.Cmd), args ...string) result {
	t.Helper()
	e.Report = 3
	image, err := e.image(m.goarch)
	if err != nil {
		t.Fatal(err)
	}
	return m.runImage(t, file(t, image), prepare, args...)
}

// runImage runs the image of an entry whose report descriptor is 3.
func (m target) runImage(t *testing.T, path string, prepare func(*exec.Cmd), args ...string) result {
	t.Helper()
	cmd := m.command(path, args...)
	reports, reportEnd := socketpair(t, unix.SOCK_DGRAM)
	cmd.ExtraFiles = []*os.File{reportEnd}
	if prepare != nil {
		prepare(cmd)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	r := result{out: out.String(), code: cmd.ProcessState.ExitCode()}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		r.signal = status.Signal()
	}
	var datagram [100]byte
	n, _, err := unix.Recvfrom(reports, datagram[:], unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return r
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.failure, err = ParseFailure(datagram[:n]); err != nil {
		t.Fatal(err)
	}
	return r
}

// socketpair returns an end for this process and one for a child. Both are closed
// with the test.
func socketpair(t testing.TB, kind int) (ours int, theirs *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "socket")
	t.Cleanup(func() {
		unix.Close(pair[0])
		theirs.Close()
	})
	return pair[0], theirs
}

// as gives a child a user and capabilities.
func as(uid uint32, ambient ...uintptr) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: true},
			AmbientCaps: ambient,
		}
	}
}

// stranger is a user that owns nothing here.
const stranger = 54321

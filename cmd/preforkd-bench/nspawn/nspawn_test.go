package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

const deadline = 2 * time.Minute

// bootArg makes a test binary boot a machine, say so, and do nothing more.
const bootArg = "boot-a-machine"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == bootArg {
		m, err := Boot(context.Background(), Options{})
		fmt.Println(m.Leader, err)
		select {}
	}
	os.Exit(m.Run())
}

func need(t *testing.T) {
	t.Helper()
	if err := Missing(); err != nil {
		needtest.Skip(t, err.Error())
	}
}

func boot(t *testing.T, o Options) *Machine {
	t.Helper()
	need(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	m, err := Boot(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMachine(t *testing.T) {
	tree := t.TempDir()
	if err := os.Chmod(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tree+"/from-tree", []byte("tree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	m := boot(t, Options{Trees: []string{tree}, Files: map[string]string{"/etc/from-files": "files\n"}, Log: &log})
	closed := false
	defer func() {
		if !closed {
			m.Close()
		}
	}()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := m.Run(t.Context(), name, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}

	if got := run("cat", "/from-tree", "/etc/from-files"); got != "tree\nfiles\n" {
		t.Errorf("the files are %q", got)
	}
	if got := run("hostname"); strings.TrimSpace(got) != m.Name {
		t.Errorf("the host name is %q", got)
	}
	if _, err := m.Run(t.Context(), "sh", "-c", "echo trouble >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "trouble") {
		t.Errorf("a command that fails: %v", err)
	}
	// What is written there stays there.
	run("sh", "-c", "echo inside > /etc/preforkd-nspawn-test")
	if _, err := os.Stat("/etc/preforkd-nspawn-test"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file of the machine is on the host: %v", err)
	}
	if data, err := os.ReadFile(m.Path("/etc/preforkd-nspawn-test")); string(data) != "inside\n" {
		t.Errorf("Path: read %q, %v", data, err)
	}
	if got := m.PID(1); got != m.Leader {
		t.Errorf("its pid 1 is %d, want %d", got, m.Leader)
	}
	// Its network is its own, and only loopback.
	if _, err := m.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial: %v", err)
	}
	if got := run("cat", "/proc/net/dev"); strings.Count(got, ":") != 1 || !strings.Contains(got, "lo:") {
		t.Errorf("its interfaces are\n%s", got)
	}

	leader := m.Leader
	closed = true
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", leader)); err == nil {
		t.Errorf("process %d is left", leader)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte("preforkd-machine")) {
		t.Errorf("a mount is left, %v\n%s", err, mounts)
	}
	if log.Len() == 0 {
		t.Error("nothing was written to the console")
	}
}

// In the network of the host, a socket of the machine's is reached from here.
// What it takes on this side is started and awaited by the caller.
func TestHostNetwork(t *testing.T) {
	need(t)
	var counted counting
	m := boot(t, Options{HostNetwork: true, Processes: &counted, Files: map[string]string{
		"/etc/systemd/system/here.socket":   "[Socket]\nListenStream=@" + t.Name() + "\nListenStream=127.0.0.1:0\nAccept=yes\n",
		"/etc/systemd/system/here@.service": "[Service]\nStandardInput=socket\nExecStart=-/bin/cat\n",
	}})
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if started, waited := counted.started.Load(), counted.waited.Load(); started < 3 || waited != started {
			t.Errorf("%d processes were started and %d awaited", started, waited)
		}
	}()
	if _, err := m.Run(t.Context(), "systemctl", "start", "here.socket"); err != nil {
		t.Fatal(err)
	}
	// The name is one of the network's, and free for each test.
	conn, err := net.Dial("unix", "@"+t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(conn, "hello")
	got := make([]byte, 6)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello\n" {
		t.Errorf("the echo is %q, %v", got, err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	theirs, _ := m.Run(t.Context(), "readlink", "/proc/self/ns/net")
	if err != nil || strings.TrimSpace(theirs) != own {
		t.Errorf("its network is %q, that of the host %q, %v", theirs, own, err)
	}
}

// counting counts what it starts and waits for.
type counting struct{ started, waited atomic.Int64 }

func (c *counting) Start(cmd *exec.Cmd) error {
	c.started.Add(1)
	return cmd.Start()
}

func (c *counting) Wait(cmd *exec.Cmd) error {
	defer c.waited.Add(1)
	return cmd.Wait()
}

// A machine does not outlive the process that has booted it, whatever ends it.
func TestMachineEndsWithItsOwner(t *testing.T) {
	need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(self, bootArg)
	owner.Stderr = os.Stderr
	stdout, err := owner.StdoutPipe()
	if err == nil {
		err = owner.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var leader int
	if _, err := fmt.Fscan(stdout, &leader); err != nil || leader == 0 {
		t.Errorf("the machine's pid 1 is %d, %v", leader, err)
	}
	pidfd, err := unix.PidfdOpen(leader, 0)
	if err != nil {
		t.Errorf("find the machine: %v", err)
	}
	owner.Process.Kill()
	owner.Wait()
	defer unix.Close(pidfd)
	// A pidfd is readable when the process has ended.
	n, err := pollIn(pidfd)
	for err == unix.EINTR {
		n, err = pollIn(pidfd)
	}
	if n != 1 || err != nil {
		t.Errorf("the machine lives on: %v", err)
	}
	// The last of its processes may be about to end. Its control groups are
	// what it leaves behind.
	name := fmt.Sprintf("preforkd-machine-%d-1", owner.Process.Pid)
	for end := time.Now().Add(deadline); RemoveGroups(name) != nil; time.Sleep(look) {
		if time.Now().After(end) {
			t.Fatal(RemoveGroups(name))
		}
	}
}

func pollIn(fd int) (int, error) {
	return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(deadline.Milliseconds()))
}

// What does not boot says so, with what the console had to say.
func TestBootFails(t *testing.T) {
	need(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	_, err := Boot(ctx, Options{Trees: []string{"/nonexistent/tree"}})
	if err == nil || !strings.Contains(err.Error(), "the machine has ended") || !strings.Contains(err.Error(), "/nonexistent/tree") {
		t.Errorf("got %v", err)
	}
	_, err = Boot(ctx, Options{Files: map[string]string{
		"/etc/systemd/system/broken.service":             "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"/etc/systemd/system/basic.target.d/broken.conf": "[Unit]\nWants=broken.service\nAfter=broken.service\n",
	}})
	if err == nil || !strings.Contains(err.Error(), "degraded") || !strings.Contains(err.Error(), "broken.service") {
		t.Errorf("got %v", err)
	}
}

// A machine that is not wanted any more while its systemd is hardly there, and
// most often deaf to being told to halt, is not waited for.
func TestInterruptedBootEndsAtOnce(t *testing.T) {
	need(t)
	for range 3 {
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("not wanted any more")
		asked := &asking{first: func() { cancel(reason) }}
		if _, err := Boot(ctx, Options{Processes: asked}); !errors.Is(err, reason) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(asked.at); took >= haltTimeout {
			t.Fatalf("it ended %v after it had been interrupted, as late as one that does not halt", took)
		}
	}
}

// asking calls first before the machine is asked for its state for the first
// time.
type asking struct {
	osExec
	first func()
	at    time.Time
}

func (a *asking) Start(cmd *exec.Cmd) error {
	if filepath.Base(cmd.Path) == "nsenter" && a.at.IsZero() {
		a.at = time.Now()
		a.first()
	}
	return a.osExec.Start(cmd)
}

package proc

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"golang.org/x/sys/unix"
)

// Everything below this process must be gone after Close, also what has left
// its group and its parents.
func TestNothingIsLeftBehind(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(t.TempDir(), "marker")
	// The outer shell ends at once; the inner one has a session of its own,
	// ignores SIGTERM and starts another process again and again.
	script := `setsid sh -c 'trap "" TERM; : >"$0"; while :; do sleep 1000; done' "$0" &
		while ! [ -e "$0" ]; do sleep 0.01; done`
	if err := children.Run(exec.Command("/bin/sh", "-c", script, marker)); err != nil {
		t.Fatal(err)
	}
	before, err := readTable()
	if err != nil {
		t.Fatal(err)
	}
	orphans := before.descendants(unix.Getpid())
	if len(orphans) == 0 {
		t.Fatal("the orphan did not come to this process")
	}
	children.Close()
	after, err := readTable()
	if err != nil {
		t.Fatal(err)
	}
	if left := after.descendants(unix.Getpid()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestServeReportsWhyNothingListens(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"/bin/sh", "-c", "echo cannot bind >&2; exit 1"}
	_, err = children.Serve(t.Context(), args, port, filepath.Join(t.TempDir(), "log"))
	if err == nil || !strings.Contains(err.Error(), "cannot bind") {
		t.Errorf("error %v; want the server's own words", err)
	}
}

func TestOrphansAreAccounted(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	// A process whose parent is gone, and that works before it ends.
	script := `(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done) &`
	if err := children.Run(exec.Command("/bin/sh", "-c", script)); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "the orphan's time has arrived", func() bool { return children.orphanTime() > 0 })
}

// What is started beside a server is not the server's, as an orphan is.
func TestTreeOfAServer(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(children.Close)
	start := func(args ...string) int {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = children.Start(cmd)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			stdin.Close()
			children.Wait(cmd)
		})
		return cmd.Process.Pid
	}
	server := start("cat")
	beside := start("sh", "-c", "cat; true")
	tree := children.Watch(t.Context(), server)
	count := func() int {
		t.Helper()
		processes, err := readTable()
		if err != nil {
			t.Fatal(err)
		}
		return len(tree.family(processes)) - 1
	}
	if n := count(); n != 0 {
		t.Errorf("beside a server %d of its workers are found", n)
	}
	if tree.baseline != 0 {
		t.Errorf("the server began with %d workers", tree.baseline)
	}
	if err := children.Run(exec.Command("sh", "-c", "sleep 1000 &")); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d orphans are found, want one", n)
	}
	children.killOrphans()
	if n := count(); n != 0 {
		t.Errorf("%d workers are left", n)
	}
	if unix.Kill(beside, 0) != nil {
		t.Error("what ran beside the server was ended with the orphan")
	}
}

// More orphans than are killed at a time.
func TestAllOrphansEnd(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	script := `i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done`
	if err := children.Run(exec.Command("/bin/sh", "-c", script)); err != nil {
		t.Fatal(err)
	}
	children.Close()
	after, err := readTable()
	if err != nil {
		t.Fatal(err)
	}
	if left := after.descendants(unix.Getpid()); len(left) > 0 {
		t.Errorf("%d left behind", len(left))
	}
}

func TestShrinkWaitsForTheProcessesOfClosedConnections(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(children.Close)
	// It keeps one process, and has two for each of three connections.
	cmd := exec.Command("/bin/sh", "-c", `for i in 1 2 3 4 5 6 7; do sleep 1000 & done; echo; wait`)
	tree := &Tree{children: children, pid: startAll(t, children, cmd), baseline: 1}
	workers := func() []int {
		t.Helper()
		all, err := readTable()
		if err != nil {
			t.Fatal(err)
		}
		return all.descendants(tree.pid)
	}
	shrink := tree.Shrink()
	shrink(3)
	for open := 2; open >= 0; open-- {
		for _, pid := range workers()[:2] {
			unix.Kill(pid, unix.SIGKILL)
		}
		shrink(open)
		if n := len(workers()); n != 1+2*open {
			t.Errorf("%d connections are open and %d processes there, want %d", open, n, 1+2*open)
		}
	}
}

// A server that keeps its processes is not waited for again and again.
func TestShrinkLearnsThatProcessesStay(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(children.Close)
	cmd := exec.Command("/bin/sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; echo; wait`)
	tree := &Tree{children: children, pid: startAll(t, children, cmd)}
	shrink := tree.Shrink()
	const batches = 12
	shrink(batches)
	begun := time.Now()
	shrink(batches - 1)
	once := time.Since(begun)
	for open := batches - 2; open >= 0; open-- {
		shrink(open)
	}
	if all := time.Since(begun); all > batches/2*once {
		t.Errorf("%d calls took %v, the first of them %v", batches, all, once)
	}
}

// startAll starts a shell that starts processes and writes a line when they
// are there. The shell ends with the test.
func startAll(t *testing.T, children *Children, cmd *exec.Cmd) (pid int) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := children.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		children.Wait(cmd)
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// The Go runtime says why it ends a program, and prints the stacks of all
// goroutines after that.
func TestLastWordsOfTheRuntime(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	script := `echo started; echo 'runtime: program exceeds 10000-thread limit'
		echo 'fatal error: thread exhaustion'; echo 'goroutine 1 [running]:'; echo 'main.go:7'; exit 2`
	never := Ready{Look: func() (bool, error) { return false, nil }, Limit: time.Minute, Not: "no"}
	_, err = children.ServeWhen(t.Context(), []string{"/bin/sh", "-c", script}, filepath.Join(t.TempDir(), "log"), never)
	if err == nil || !strings.HasSuffix(err.Error(), `it printed "runtime: program exceeds 10000-thread limit"`) {
		t.Errorf("error %v", err)
	}
}

// A server that is not ready in time is told by what it lacks, and ended.
func TestServeWhen(t *testing.T) {
	children, err := Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	looks := 0
	ready := Ready{Look: func() (bool, error) { looks++; return looks > 3, nil }, Limit: time.Minute, Not: "not ready"}
	s, err := children.ServeWhen(t.Context(), []string{"/bin/sleep", "1000"}, filepath.Join(t.TempDir(), "log"), ready)
	if err != nil {
		t.Fatal(err)
	}
	if s.Took() < 3*awaitLook {
		t.Errorf("it took %v, with %d looks", s.Took(), looks)
	}
	if n, err := s.Threads(); n != 1 || err != nil {
		t.Errorf("sleep has %d threads, %v", n, err)
	}
	if stopped, err := s.Stopped(); stopped || err != nil {
		t.Errorf("stopped: %v, %v", stopped, err)
	}
	if err := s.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "it is stopped", func() bool {
		stopped, err := s.Stopped()
		if err != nil {
			t.Fatal(err)
		}
		return stopped
	})
	s.Stop()
	if err := s.Signal(unix.SIGCONT); err == nil {
		t.Error("a server that has ended was signalled")
	}
	ready = Ready{Look: func() (bool, error) { return false, nil }, Limit: time.Millisecond, Not: "nobody is there"}
	_, err = children.ServeWhen(t.Context(), []string{"/bin/sleep", "1000"}, filepath.Join(t.TempDir(), "log"), ready)
	if err == nil || !strings.Contains(err.Error(), "start sleep: nobody is there after 1ms") {
		t.Errorf("error %v", err)
	}
}

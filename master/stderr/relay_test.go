package stderr

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A sink collects the lines that a Relay forwards.
type sink struct {
	mu    sync.Mutex
	lines []string
}

func (s *sink) add(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, string(line))
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "")
}

func itself(pid int) int { return pid }

func open(t *testing.T, leaderOf func(int) int) (*Relay, *sink) {
	t.Helper()
	to := &sink{}
	r, err := Open(to.add, leaderOf, func(err error) { t.Logf("reopened: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, to
}

// run runs a shell script with the Relay for its stderr, and returns its pid.
func run(t *testing.T, r *Relay, script string) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Stderr = r.File()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		t.Logf("%s: %v", script, err)
	}
	return cmd.Process.Pid
}

// Lines arrive whole and in order, and are attributed to the process that has
// written them, though all write to one socket.
func TestRelayTellsWritersApart(t *testing.T) {
	r, to := open(t, itself)
	begun := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	tails := map[int]string{}
	for n := range 8 {
		wg.Go(func() {
			pid := run(t, r, fmt.Sprintf("for i in 1 2 3 4 5 6 7; do printf 'writer %d ' >&2; echo line $i >&2; done; printf end >&2", n))
			tail := r.Take(pid, begun)
			mu.Lock()
			defer mu.Unlock()
			tails[n] = tail
		})
	}
	wg.Wait()
	for n, tail := range tails {
		var want []string
		for i := 4; i <= 7; i++ {
			want = append(want, fmt.Sprintf("writer %d line %d", n, i))
		}
		if want := strings.Join(append(want, "end"), "\n"); tail != want {
			t.Errorf("%q, want %q", tail, want)
		}
		var lines []string
		for _, line := range to.lines {
			if strings.HasPrefix(line, fmt.Sprintf("writer %d ", n)) {
				lines = append(lines, line)
			}
		}
		if len(lines) != 7 || !slices.IsSorted(lines) {
			t.Errorf("%q", lines)
		}
	}
	if n := r.writers.Load(); n != 0 {
		t.Errorf("%d writers are remembered", n)
	}
}

// What a child of a worker writes is the worker's.
func TestRelayFindsWorkerOfChild(t *testing.T) {
	r, _ := open(t, func(pid int) int {
		if group, err := unix.Getpgid(pid); err == nil {
			return group
		}
		return pid
	})
	begun := time.Now()
	// The child stays until the line was read, so that its group can be found.
	gate, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	cmd := exec.Command("/bin/sh", "-c", "/bin/sh -c 'echo child $$ >&2; read x'; exit 1")
	cmd.Stderr, cmd.Stdin = r.File(), gate
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "read", func() bool { return r.writers.Load() > 0 })
	hold.Close()
	cmd.Wait()
	if tail := r.Take(cmd.Process.Pid, begun); !strings.HasPrefix(tail, "child ") {
		t.Errorf("%q", tail)
	}
}

// An earlier process that had the same pid is not blamed on the later one, and a
// worker that ended well is forgotten.
func TestRelayForgets(t *testing.T) {
	r, to := open(t, itself)
	pid := run(t, r, "echo one >&2")
	if tail := r.Take(pid, time.Now().Add(time.Second)); tail != "" {
		t.Errorf("%q", tail)
	}
	begun := time.Now()
	pid = run(t, r, "printf two >&2")
	slowtest.Await(t, "read", func() bool { return r.writers.Load() > 0 })
	r.Forget(pid)
	if tail := r.Take(pid, begun); tail != "" || to.text() != "one\ntwo\n" {
		t.Errorf("%q, forwarded %q", tail, to.text())
	}
	now := time.Now()
	r.mu.Lock()
	for n := range 3 * maxWriters {
		r.add(1<<22+n, []byte("x"), now)
	}
	r.mu.Unlock()
	if n := r.writers.Load(); n > maxWriters {
		t.Errorf("%d writers are remembered", n)
	}
}

// The last words of a worker that has ended well, and was forgotten before they
// were read, are passed on though they end without a newline.
func TestRelayAfterTheEnd(t *testing.T) {
	r, to := open(t, itself)
	r.mu.Lock() // nobody reads
	pid := run(t, r, "printf words >&2")
	r.mu.Unlock()
	r.Forget(pid)
	slowtest.Await(t, "passed on", func() bool { return to.text() == "words\n" })
}

// While workers flood the socket with empty lines, those who want the relay for a
// worker that has ended get it between two pieces, and what is remembered of the
// flood does not grow.
func TestRelayIsFlooded(t *testing.T) {
	var lines int
	r, err := Open(func([]byte) { lines++ }, itself, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	r.mu.Lock()
	now := time.Now()
	for range 1000 {
		r.add(os.Getpid(), []byte("x"), now)
	}
	unended := len(r.unended)
	r.mu.Unlock()
	if unended > 1 {
		t.Errorf("%d lines of one worker have no end", unended)
	}
	const piece = 4096
	fd := int(r.File().Fd())
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for empty := bytes.Repeat([]byte("\n"), piece); ; {
			select {
			case <-stop:
				return
			default:
				_, _ = unix.Write(fd, empty)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	slowtest.Await(t, "read", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return lines > piece })
	r.mu.Lock()
	before := lines
	if r.read(maxTake); lines-before > maxTake+piece {
		t.Errorf("%d bytes at once", lines-before)
	}
	before = lines
	if r.read(maxRead); lines-before > maxRead+piece {
		t.Errorf("%d bytes at once", lines-before)
	}
	r.mu.Unlock()
}

// A worker that shuts the socket down does that to those that have it, and not to
// those that come later.
func TestRelayIsShutDown(t *testing.T) {
	r, to := open(t, itself)
	number := r.File().Fd()
	if err := unix.Shutdown(int(number), unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "reopened", func() bool { _, err := unix.Write(int(r.File().Fd()), nil); return err == nil })
	if now := r.File().Fd(); now != number {
		t.Errorf("descriptor %d became %d", number, now)
	}
	run(t, r, "echo later >&2")
	slowtest.Await(t, "read", func() bool { return to.text() == "later\n" })
}

// The end of the Relay ends nobody who writes.
func TestRelayIsClosed(t *testing.T) {
	r, err := Open(nil, itself, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := r.File().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if err := raw.Control(func(own uintptr) { fd, err = unix.Dup(int(own)) }); err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "stderr")
	defer file.Close()
	r.Close()
	cmd := exec.Command("/bin/sh", "-c", "echo lost >&2; exit 7")
	cmd.Stderr = file
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v", err)
	}
}

// The Relay ends while workers are writing.
func TestRelayIsClosedWhileRead(t *testing.T) {
	for range 200 {
		r, err := Open(func([]byte) {}, itself, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		fd := int(r.File().Fd())
		for range 5 {
			if _, err := unix.Write(fd, []byte("words\n")); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
	}
}

// Nothing that a worker sends is of harm: descriptors are closed, and no piece
// has no end.
func TestRelayTakesAnything(t *testing.T) {
	r, to := open(t, itself)
	fd := int(r.File().Fd())
	before := fdtest.Open(t)
	for range 10 {
		if err := unix.Sendmsg(fd, []byte("fds\n"), unix.UnixRights(0, 1, 2), nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, nil); err != nil {
			t.Fatal(err)
		}
	}
	long := bytes.Repeat([]byte("y"), 3*MaxLine+1)
	if _, err := unix.Write(fd, append(long, '\n')); err != nil {
		t.Fatal(err)
	}
	r.Flush()
	if got := strings.ReplaceAll(strings.TrimPrefix(to.text(), strings.Repeat("fds\n", 10)), "\n", ""); got != string(long) {
		t.Errorf("%d bytes of the long line, want %d", len(got), len(long))
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// A Tail has the last lines within its bounds.
func TestTail(t *testing.T) {
	now := time.Unix(1000, 0)
	long := strings.Repeat("z", tailBytes)
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"", "one\r", ""}, "one"},
		{[]string{"1", "2", "3", "4", "5", "6"}, "2\n3\n4\n5\n6"},
		{[]string{"1", long + "and more"}, long},
		{[]string{long, "2"}, "2"},
	} {
		var tail Tail
		for _, line := range test.lines {
			tail.Add([]byte(line), now)
		}
		if got := tail.Since(now); got != test.want {
			t.Errorf("%q: %q", test.lines, got)
		}
		if got := tail.Since(now.Add(1)); got != "" {
			t.Errorf("later: %q", got)
		}
	}
}

package spawner

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/process"
)

func newSpawner(t *testing.T) *Spawner {
	t.Helper()
	s, err := New(Config{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run starts a shell by the Spawner and returns what it writes to its connection.
func run(t *testing.T, s *Spawner, umask *uint32, script string) string {
	t.Helper()
	return runCommand(t, s, &process.Command{Umask: umask}, script)
}

// runCommand is run for a command, which it completes.
func runCommand(t *testing.T, s *Spawner, c *process.Command, script string) string {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(ends[1]), "peer")
	defer peer.Close()
	c.Path, c.Args, c.Stderr = "/bin/sh", []string{"sh", "-c", script}, os.Stderr
	conn := os.NewFile(uintptr(ends[0]), "connection")
	child, err := s.Start(c, conn, nil, nil)
	conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Wait4(child.Pid, nil, 0, nil)
	child.ReleaseHandle()
	out, err := io.ReadAll(bufio.NewReader(peer))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Each start has its own umask, whichever thread it gets, and the process keeps
// its own.
func TestUmask(t *testing.T) {
	s := newSpawner(t)
	if err := s.UmaskError(); err != nil {
		needtest.Skip(t, err.Error())
	}
	own := unix.Umask(0)
	unix.Umask(own)
	for _, all := range []bool{false, true} {
		s.allOnThreads = all
		var done sync.WaitGroup
		for i := range 40 * threadsOfKind {
			done.Go(func() {
				var umask *uint32
				want := uint32(own)
				if i%4 != 0 {
					want = []uint32{0, 0o077, 0o002, 0o777}[i%4]
					umask = &want
				}
				if got := run(t, s, umask, "umask"); got != fmt.Sprintf("%04o", want) {
					t.Errorf("umask %s, want %04o", got, want)
				}
			})
		}
		done.Wait()
	}
	if now := unix.Umask(own); now != own {
		t.Errorf("this process has umask %03o, had %03o", now, own)
	}
}

// A start that fails gives back its right and its thread.
func TestFailedStarts(t *testing.T) {
	s := newSpawner(t)
	s.allOnThreads = true
	for range 3 * cap(s.limiter.total) {
		if _, err := s.Start(&process.Command{Path: "/does/not/exist", Stderr: os.Stderr}, nil, nil, nil); err == nil {
			t.Fatal("started")
		}
	}
	if len(s.limiter.total) > 0 || len(s.threads.own.idle) != threadsOfKind {
		t.Errorf("%d starts in progress, %d threads idle", len(s.limiter.total), len(s.threads.own.idle))
	}
	if got := run(t, s, nil, "echo hello"); got != "hello" {
		t.Errorf("%q", got)
	}
}

// What is started on a bare thread has no capability and gets none, and the threads
// of the other kind and the process keep theirs.
func TestBareThreads(t *testing.T) {
	s := newSpawner(t)
	sets := func(do func(func() error) error) string {
		var out []byte
		for range threadsOfKind + 1 {
			err := do(func() (err error) {
				out, err = exec.Command("/bin/sh", "-c", "exec grep -E 'Cap(Bnd|Inh|Prm|Eff|Amb)' /proc/self/status").Output()
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return string(out)
	}
	before := sets(s.Do)
	bare := sets(s.DoBare)
	if now := sets(s.Do); now != before {
		t.Errorf("an own thread's child had\n%s\nand has\n%s", before, now)
	}
	header, own := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &own[0]); err != nil {
		t.Fatal(err)
	}
	if own[0].Effective&(1<<unix.CAP_SETPCAP) == 0 {
		needtest.Skip(t, "empties a bounding set, which takes CAP_SETPCAP")
	}
	for _, line := range strings.Split(strings.TrimSpace(bare), "\n") {
		if !strings.HasSuffix(line, "\t0000000000000000") {
			t.Errorf("a bare thread's child has %q", line)
		}
	}
}

// A program has the usual timer slack, and a built-in handler that of a relaxed monitor,
// also when the monitor has started the thread that starts them.
func TestTimerSlack(t *testing.T) {
	usual := slackOfMainThread(t)
	if err := osthread.RelaxMonitor(); err != nil {
		t.Logf("this process keeps its own: %v", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer setSlack(t, 0) // what the thread has inherited
	const relaxed = 200_000
	umask := uint32(0o027)
	for _, all := range []bool{false, true} {
		s := newSpawner(t)
		s.allOnThreads = all
		for _, c := range []struct {
			name    string
			command process.Command
			want    int
		}{
			{"program", process.Command{}, usual},
			{"handler", process.Command{Handler: true}, relaxed},
			{"program with a umask", process.Command{Umask: &umask}, usual},
			{"handler with a umask", process.Command{Umask: &umask, Handler: true}, relaxed},
			{"program after a handler", process.Command{}, usual},
			{"program with a slack", process.Command{TimerSlack: time.Millisecond}, 1_000_000},
			{"handler with a slack", process.Command{TimerSlack: time.Millisecond, Handler: true}, 1_000_000},
			{"program after a slack", process.Command{}, usual},
		} {
			setSlack(t, relaxed)
			if got := runCommand(t, s, &c.command, "cat /proc/self/timerslack_ns"); got != fmt.Sprint(c.want) {
				t.Errorf("all on threads %v, %s: a slack of %s ns, want %d", all, c.name, got, c.want)
			}
		}
	}
}

// slackOfMainThread returns the timer slack that nobody has changed, in ns.
func slackOfMainThread(t *testing.T) (ns int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/timerslack_ns")
	if err == nil {
		ns, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func setSlack(t *testing.T, ns uintptr) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, ns, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// startBlocked executes this program again with the signals blocked that a master blocks
// for an upgrade. It then has the environment variable for TestMain.
func startBlocked() {
	runtime.LockOSThread()
	var set unix.Sigset_t
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCHLD} {
		set.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
		panic(err)
	}
	os.Setenv(helper, "blocked")
	panic(osthread.ExecAgain(os.Environ()))
}

// helper is the environment variable that makes this program a helper process.
const helper = "SPAWNER_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "block":
		startBlocked()
	case "blocked":
		os.Args = []string{os.Args[0], "-test.run", "^TestNothingIsBlocked$", "-test.v"}
	}
	os.Exit(m.Run())
}

// A master that was executed with signals blocked starts processes with none blocked, on
// whichever thread.
func TestNothingIsBlocked(t *testing.T) {
	if os.Getenv(helper) == "" {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), helper+"=block")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestNothingIsBlocked") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil || strings.Contains(string(own), "SigBlk:\t0000000000000000") {
		t.Fatalf("nothing is blocked, %v", err)
	}
	umask := uint32(0o027)
	for _, all := range []bool{false, true} {
		s := newSpawner(t)
		s.allOnThreads = all
		for name, c := range map[string]process.Command{
			"program": {}, "handler": {Handler: true}, "umask": {Umask: &umask}, "slack": {TimerSlack: time.Millisecond},
		} {
			// Several, on whichever threads there are.
			for range 5 {
				if got := runCommand(t, s, &c, "exec grep SigBlk /proc/self/status"); got != "SigBlk:\t0000000000000000" {
					t.Errorf("%s, all on threads %v: %s", name, all, got)
				}
			}
		}
	}
}

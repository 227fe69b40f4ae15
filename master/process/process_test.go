package process

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"golang.org/x/sys/unix"
)

func TestWaitRetriesAndEnds(t *testing.T) {
	type answer struct {
		pid int
		err error
	}
	for name, c := range map[string]struct {
		answers []answer
		want    []int
	}{
		"nothing has ended":    {[]answer{{0, nil}}, nil},
		"there are none":       {[]answer{{-1, unix.ECHILD}}, nil},
		"three, then none":     {[]answer{{7, nil}, {8, nil}, {9, nil}, {-1, unix.ECHILD}}, []int{7, 8, 9}},
		"two, others live":     {[]answer{{7, nil}, {8, nil}, {0, nil}}, []int{7, 8}},
		"interrupted":          {[]answer{{-1, unix.EINTR}, {7, nil}, {-1, unix.EINTR}, {0, nil}}, []int{7}},
		"interrupted for good": {[]answer{{-1, unix.EINTR}, {-1, unix.EINTR}, {-1, unix.ECHILD}}, nil},
	} {
		answers := c.answers
		var got []int
		play := func(pid int, status *unix.WaitStatus, options int, usage *unix.Rusage) (int, error) {
			if pid != -1 || options != unix.WNOHANG {
				t.Fatalf("%s: wait4(%d, %d)", name, pid, options)
			}
			if len(answers) == 0 {
				t.Fatalf("%s: waited once too often", name)
			}
			a := answers[0]
			answers = answers[1:]
			return a.pid, a.err
		}
		for e, ok := wait(play, AnyChild); ok; e, ok = wait(play, AnyChild) {
			got = append(got, e.Pid)
		}
		if len(answers) > 0 || !slices.Equal(got, c.want) {
			t.Errorf("%s: reaped %v with %d answers left, want %v", name, got, len(answers), c.want)
		}
	}
}

// reapOne returns the next exit. Like the master, it waits for SIGCHLD.
func reapOne(t *testing.T, children <-chan os.Signal) Exit {
	t.Helper()
	for {
		if e, ok := Wait(AnyChild); ok {
			return e
		}
		<-children
	}
}

func notifyChildren(t *testing.T) <-chan os.Signal {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	t.Cleanup(func() { signal.Stop(children) })
	return children
}

func shell(t *testing.T, control bool, script string) *Command {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return &Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Control: control, Null: null, Stderr: os.Stderr}
}

// connection returns a connection for a child, and the peer's end of it.
func connection(t *testing.T) (conn, peer *os.File) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer = os.NewFile(uintptr(ends[1]), "peer")
	conn = os.NewFile(uintptr(ends[0]), "connection")
	t.Cleanup(func() { conn.Close(); peer.Close() })
	return conn, peer
}

func TestStartHandsOverAndKeepsNothing(t *testing.T) {
	children := notifyChildren(t)
	for name, c := range map[string]struct {
		control bool
		script  string
	}{
		"stdio":  {false, "cat; exit 3"},
		"worker": {true, "cat <&3 >&3; exit 3"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, peer := connection(t)
			before := fdtest.Open(t)
			child, err := shell(t, c.control, c.script).Start(conn, nil, []byte("assignment"))
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if (child.Control >= 0) != c.control {
				t.Errorf("control channel is %d", child.Control)
			}
			child.ReleaseHandle()
			if _, err := peer.WriteString("hello"); err != nil {
				t.Fatal(err)
			}
			if err := unix.Shutdown(int(peer.Fd()), unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			// The end of the stream proves that only the child held the
			// connection.
			if got, err := io.ReadAll(peer); err != nil || string(got) != "hello" {
				t.Errorf("read %q, %v", got, err)
			}
			exit := reapOne(t, children)
			if exit.Pid != child.Pid || exit.Status.ExitStatus() != 3 {
				t.Errorf("reaped %d with %d, want %d with 3", exit.Pid, exit.Status.ExitStatus(), child.Pid)
			}
			if c.control {
				unix.Close(child.Control)
			}
			// The connection was open before and is closed now. The /dev/null
			// of the shell's Command is new.
			if after := fdtest.Open(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func TestStartLeavesTheConnectionWhenItFails(t *testing.T) {
	script := filepath.Join(t.TempDir(), "gone")
	for _, control := range []bool{false, true} {
		command := shell(t, control, "")
		command.Path = script
		conn, peer := connection(t)
		before := fdtest.Open(t)
		if _, err := command.Start(conn, nil, nil); !errors.Is(err, unix.ENOENT) {
			t.Fatalf("start: %v, want ENOENT", err)
		}
		if _, err := conn.WriteString("still here"); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(peer, make([]byte, len("still here"))); err != nil {
			t.Error(err)
		}
		if after := fdtest.Open(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	}
}

func TestReapedTellsThisProcessFromItsPid(t *testing.T) {
	children := notifyChildren(t)
	conn, peer := connection(t)
	child, err := shell(t, false, "read x").Start(conn, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if child.Reaped() {
		t.Error("a live child counts as reaped")
	}
	peer.Close()
	reapOne(t, children)
	if !child.Reaped() {
		t.Error("a reaped child does not count as reaped")
	}
	child.ReleaseHandle()
}

func TestSignalGroupReachesGrandchildren(t *testing.T) {
	children := notifyChildren(t)
	conn, peer := connection(t)
	child, err := shell(t, false, "sleep 1000 & echo ready; wait").Start(conn, []string{"PATH=" + os.Getenv("PATH")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	child.ReleaseHandle()
	conn.Close()
	if _, err := io.ReadFull(peer, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := SignalGroup(child.Pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The grandchild holds the connection, too. The peer reads the end when
	// both have ended.
	if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %d, %v; want the end", n, err)
	}
	if exit := reapOne(t, children); exit.Status.Signal() != unix.SIGTERM {
		t.Errorf("status %#x", exit.Status)
	}
}

// TestMain also runs the helper processes of TestResetSignals. Such a
// process undoes what it has inherited, and shows what its own child sees.
func TestMain(m *testing.M) {
	switch os.Getenv("PREFORKD_TEST_HELPER") {
	case "defaults":
		if err := SetCloexecAll(); err != nil {
			panic(err)
		}
		if err := ResetSignals(); err != nil {
			panic(err)
		}
		out, err := exec.Command("/bin/sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd").CombinedOutput()
		os.Stdout.Write(out)
		if err != nil {
			panic(err)
		}
		os.Exit(0)
	case "block":
		// Block signals, as a careless parent does, and execute the other
		// helper.
		set := unix.Sigset_t{}
		for _, s := range []unix.Signal{unix.SIGUSR1, unix.SIGTERM, unix.SIGCHLD, unix.SIGPIPE} {
			set.Val[0] |= 1 << (s - 1)
		}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
			panic(err)
		}
		os.Setenv("PREFORKD_TEST_HELPER", "defaults")
		panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	os.Exit(m.Run())
}

func TestResetSignals(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, cmd := range map[string]*exec.Cmd{
		"nothing":  exec.Command(self),
		"ignored":  exec.Command("/bin/sh", "-c", `trap "" HUP INT QUIT PIPE TSTP TTIN TTOU USR1 USR2 CHLD TERM; exec "$0"`, self),
		"blocked":  exec.Command(self),
		"open fds": exec.Command("/bin/sh", "-c", `exec 5</dev/null 9</dev/null; exec "$0"`, self),
	} {
		t.Run(name, func(t *testing.T) {
			helper := "defaults"
			if name == "blocked" {
				helper = "block"
			}
			cmd.Env = append(os.Environ(), "PREFORKD_TEST_HELPER="+helper)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			// ls has the directory that it lists open as 3.
			want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n"
			if string(out) != want {
				t.Errorf("a child sees %q, want %q", out, want)
			}
		})
	}
}

func TestSignalSet(t *testing.T) {
	status := []byte("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t8000000000000000\nOther:\t1\n")
	for name, want := range map[string]uint64{"SigBlk": 1, "SigIgn": 1 << 63, "SigCgt": 0, "Name": 0} {
		if got := signalSet(status, name); got != want {
			t.Errorf("signalSet(%s) = %x, want %x", name, got, want)
		}
	}
}

func TestOrphans(t *testing.T) {
	children := notifyChildren(t)
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	conn, peer := connection(t)
	// The shell leaves two processes behind. One of them has a session of its
	// own, so it has become a daemon on purpose.
	child, err := shell(t, false, `sleep 1000 & echo $!; setsid sh -c 'echo $$; exec sleep 1001' & wait $!`).
		Start(conn, []string{"PATH=" + os.Getenv("PATH")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	child.ReleaseHandle()
	lines := bufio.NewScanner(peer)
	var pids []int
	for len(pids) < 2 && lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	orphan, daemon := pids[0], pids[1]
	isWorker := func(pid int) bool { return pid == child.Pid }
	nobody := func(int) bool { return false }
	if got := Orphans(isWorker, isWorker); len(got) > 0 {
		t.Errorf("orphans %v while their parent is alive", got)
	}
	if err := unix.Kill(child.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := reapOne(t, children); exit.Pid != child.Pid {
		t.Fatalf("reaped %d, want %d", exit.Pid, child.Pid)
	}
	if got := Orphans(nobody, isWorker); !slices.Equal(got, []int{orphan}) {
		t.Errorf("orphans %v, want %d", got, orphan)
	}
	if got := Orphans(nobody, nobody); len(got) > 0 {
		t.Errorf("orphans %v of no worker", got)
	}
	// The daemon's number was a worker's before.
	if got := Orphans(nobody, func(pid int) bool { return pid == daemon }); len(got) > 0 {
		t.Errorf("orphans %v, want none: the leader of the session lives", got)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if exit := reapOne(t, children); exit.Pid != orphan && exit.Pid != daemon {
			t.Errorf("reaped %d", exit.Pid)
		}
	}
	if got := Orphans(nobody, func(int) bool { return true }); len(got) > 0 {
		t.Errorf("orphans %v after all are gone", got)
	}
}

// A connection with the last number that there may be leaves package syscall none above it.
// It is served all the same if there is a lower one.
func TestStartAtEndOfTable(t *testing.T) {
	children := notifyChildren(t)
	low, peer := connection(t)
	high, err := unix.FcntlInt(low.Fd(), unix.F_DUPFD_CLOEXEC, 500)
	if err != nil {
		t.Fatal(err)
	}
	low.Close()
	conn := os.NewFile(uintptr(high), "connection")
	defer conn.Close()
	c := shell(t, false, "echo hello")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	start := func(limit int) (*Child, error) {
		t.Helper()
		full := old
		full.Cur = uint64(limit)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &full); err != nil {
			t.Fatal(err)
		}
		child, err := c.Start(conn, nil, nil)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		return child, err
	}
	before := fdtest.Open(t)
	child, err := start(high + 1)
	if err != nil {
		t.Fatal(err)
	}
	child.ReleaseHandle()
	if exit := reapOne(t, children); exit.Pid != child.Pid || exit.Status.ExitStatus() != 0 {
		t.Errorf("%d ended with %d", exit.Pid, exit.Status.ExitStatus())
	}
	if after := fdtest.Open(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	conn.Close()
	if got, err := io.ReadAll(peer); err != nil || string(got) != "hello\n" {
		t.Errorf("read %q, %v", got, err)
	}
}

// Without a lower number there is a shortage, and no more.
func TestDuplicateBelow(t *testing.T) {
	f, _ := connection(t)
	var lower []*os.File
	for {
		d, err := duplicateBelow(f)
		if err != nil {
			if !errors.Is(err, unix.EMFILE) {
				t.Errorf("%v, want %v", err, unix.EMFILE)
			}
			break
		}
		if d.Fd() > f.Fd() {
			t.Errorf("duplicate %d of %d", d.Fd(), f.Fd())
		}
		lower = append(lower, d)
	}
	for _, d := range lower {
		d.Close()
	}
}

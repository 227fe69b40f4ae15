package box

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// What the entry cannot do is an error that names it, and the box goes on.
func TestFailure(t *testing.T) {
	h := open(t)
	cfg := strict(t)
	cfg.Limits["nofile"] = config.Limit{Soft: 64, Hard: 64}
	b := h.box(cfg)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		edit func(c *process.Command)
		is   error
		text string
	}{
		{"missing", func(c *process.Command) { c.Path = "/usr/bin/no-such-program" }, fs.ErrNotExist, "/usr/bin/no-such-program"},
		{"not executable", func(c *process.Command) { c.Path = "/etc/passwd" }, fs.ErrPermission, "/etc/passwd"},
		{"in the master's /tmp", func(c *process.Command) { c.Path = file }, nil, file},
		{"a directory", func(c *process.Command) { c.Path = "/usr" }, fs.ErrPermission, "/usr"},
		{"no directory", func(c *process.Command) { c.Directory = "/no/such/directory" }, fs.ErrNotExist, "change to the working directory"},
	} {
		c := h.command(b)
		test.edit(c)
		w, err := h.start(c, "look")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		x, err := w.wait()
		if err != nil || x.failure == nil || test.is != nil && !errors.Is(x.failure, test.is) || !strings.Contains(x.failure.Error(), test.text) {
			t.Errorf("%s: %v, failure: %v", test.name, err, x.failure)
		}
	}
	h.run(h.command(b), "look")
}

// More failures than fit into the socket are all told, also when nobody reads them
// until all have happened. One that was killed before it could exit has failed, too.
func TestManyFailures(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	c := h.command(b)
	c.Path = "/usr/bin/no-such-program"
	const many = 40
	var workers []*worker
	h.do(func() {
		for range many {
			child, err := h.spawner.Start(c, h.null, nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			child.ReleaseHandle()
			w := &worker{command: c, child: child, over: make(chan exit, 1)}
			workers, h.workers[child.Pid] = append(workers, w), w
		}
		// They have reported, or wait until there is room for it.
		for _, w := range workers {
			h.await("an entry does not report", func() bool {
				state, err := os.ReadFile("/proc/" + strconv.Itoa(w.child.Pid) + "/wchan")
				return err == nil && string(state) != "0" || boxtest.IsZombie(w.child.Pid)
			})
			unix.Kill(w.child.Pid, unix.SIGKILL)
		}
	})
	told := 0
	for _, w := range workers {
		x, err := w.wait()
		if err != nil {
			t.Fatal(err)
		}
		if x.failure != nil {
			told++
		}
	}
	if told == 0 {
		t.Error("no failure was told")
	}
	if n := len(h.m.shared.reports.read); n > 0 {
		t.Errorf("%d reports are kept that nobody will ask for", n)
	}
	h.run(h.command(b), "look")
}

// A report counts, too, if its process was killed before it could exit.
func TestFailureOfKilled(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	report := []byte{byte(stub.Execute), 0, 0, 0, byte(unix.ENOENT), 0, 0, 0}
	if err := unix.Send(int(h.m.shared.reports.out), report, 0); err != nil {
		t.Fatal(err)
	}
	killed := process.Exit{Pid: os.Getpid(), Status: unix.WaitStatus(unix.SIGKILL)}
	if err := b.Failure(h.command(b), &killed); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the failure is %v", err)
	}
	if err := b.Failure(h.command(b), &killed); err != nil {
		t.Errorf("the next process of the same number has failed, too: %v", err)
	}
}

// A thread that was in a box with mounts starts other programs where the master is.
func TestThreadComesBack(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	umask := uint32(0o77)
	outside := &process.Command{Path: "/bin/sh", Args: []string{"sh", "-c", "pwd; readlink /proc/self/root; umask"}, Null: h.null, Stderr: h.null, Umask: &umask}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // more than there are threads
		h.run(h.command(b), "look")
		out := h.output(outside)
		if want := here + "\n/\n0077\n"; out != want {
			t.Fatalf("a program outside of a box says %q, want %q", out, want)
		}
	}
}

// output returns what a command writes that has no box.
func (h *house) output(c *process.Command) string {
	h.t.Helper()
	conn, peer, err := tcpPair()
	if err != nil {
		h.t.Fatal(err)
	}
	child, err := h.spawner.Start(c, conn, nil, nil)
	conn.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	child.ReleaseHandle()
	defer peer.Close()
	peer.SetReadDeadline(time.Now().Add(slowtest.Scale(time.Minute)))
	var out []byte
	buf := make([]byte, 512)
	for {
		n, err := peer.Read(buf)
		out = append(out, buf[:n]...)
		if err != nil {
			h.await("the program is not reaped", func() bool { return unix.Kill(child.Pid, 0) == unix.ESRCH })
			return string(out)
		}
	}
}

// What needs no namespaces takes its first program from a descriptor, whatever
// numbers the descriptors of the start have. Package syscall moves descriptors that are
// in its way to the first number above those that the child gets.
func TestDescriptorNumbers(t *testing.T) {
	h := open(t)
	b := h.box(config.PresetBox(config.BoxBasic))
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := h.command(b)
	c.Path = program
	// The image gets a number above some that are free afterwards.
	var below []int
	for {
		fd, err := unix.FcntlInt(h.null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if below = append(below, fd); fd > 50 {
			break
		}
	}
	image, err := b.entry(c)
	for _, fd := range below {
		unix.Close(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	for number := int(image.file.Fd()) - 2; number < int(image.file.Fd())+3; number++ {
		if _, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); err == nil {
			continue
		}
		conn, peer, err := tcpPair()
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Dup3(int(conn.Fd()), number, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		there := os.NewFile(uintptr(number), "connection")
		w, err := h.startWith(c, "look", there, peer)
		there.Close()
		if err != nil {
			t.Errorf("with the connection at %d and the entry at %d: %v", number, image.file.Fd(), err)
			continue
		}
		h.finish(w, "look")
	}
}

// A start for which there is no descriptor fails with that error and leaves nothing
// behind, wherever it got to.
func TestDescriptorsExhausted(t *testing.T) {
	h := open(t)
	b := h.box(strict(t))
	h.m.Use([]process.Box{b})
	c := h.command(b)
	h.run(c, "look")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	conn, peer, err := tcpPair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	failed := 0
	for more := range 12 {
		h.settle()
		for _, pid := range b.idlePIDs() { // so that the start makes a cell
			unix.Kill(pid, unix.SIGKILL)
		}
		h.await("a cell is still idle", func() bool { return len(b.idlePIDs()) == 0 })
		free, err := unix.FcntlInt(h.null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(free)
		less := unix.Rlimit{Cur: uint64(free + more), Max: old.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &less); err != nil {
			t.Fatal(err)
		}
		child, err := h.spawner.Start(c, conn, []string{envDo + "=look"}, nil)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			// Between fork and exec a number above the limit is none (dup(2)).
			if failed++; !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.EBADF) {
				t.Errorf("with %d descriptors: %v", more, err)
			}
			continue
		}
		w := &worker{command: c, child: child, over: make(chan exit, 1)}
		h.do(func() { h.adopt(w) })
		if x, err := w.wait(); err != nil || x.failure != nil {
			t.Errorf("with %d descriptors: %v %v", more, err, x.failure)
		}
	}
	if failed == 0 {
		t.Error("every start has succeeded")
	}
	peer.Close()
	h.run(c, "look")
	h.settle()
	h.await("something counts as live", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.live == len(b.idle) && b.users.InUse() == 0
	})
}

// A box that cannot be had is told with the key, and what would give it.
func TestCheck(t *testing.T) {
	needBoxes(t)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for _, test := range []struct {
		name string
		attr *syscall.SysProcAttr
		edit func(b *config.Box)
		want string
	}{
		{"as root", nil, func(b *config.Box) {}, "<nil>\n"},
		{"as nobody", nobody, func(b *config.Box) {}, "dynamic-user\n"},
		{"as nobody without users", nobody, func(b *config.Box) { b.DynamicUser = false }, "protect-system\n"},
		{"a directory", nil, func(b *config.Box) { b.RootDirectory = "/no/such/directory" }, "root-directory: /no/such/directory"},
		{"no /proc", nil, func(b *config.Box) {
			b.PrivatePIDs, b.ProtectProc, b.ProtectKernel = false, false, false
			b.InaccessiblePaths = []string{"/proc"}
		}, "<nil>\n"},
	} {
		cfg := strict(t)
		cfg.BindPaths = nil // the directory of this program may be closed to others
		test.edit(&cfg)
		if out := checkAs(t, cfg, test.attr); !strings.HasPrefix(out, test.want) {
			t.Errorf("%s: %q, want %q", test.name, out, test.want)
		}
	}
}

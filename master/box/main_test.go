package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/spawner"
)

// What this program is, beside the tests. The value of envDo is what it does in a box.
const (
	envDo    = "BOX_TEST_DO"
	envCheck = "BOX_TEST_CHECK" // it prints the error of a box of this configuration
)

func TestMain(m *testing.M) {
	if do, ok := os.LookupEnv(envDo); ok {
		os.Exit(inBox(do))
	}
	if text, ok := os.LookupEnv(envCheck); ok {
		os.Exit(checkBox(text))
	}
	slowtest.Factor() // it starts programs, whose exits loop would take
	os.Exit(m.Run())
}

// helperPath is where this program is in a box.
const helperPath = "/usr/bin/true"

// A view is what a process sees of its box.
type view struct {
	UID, GID, PID int
	Namespaces    map[string]string // by their names in /proc/self/ns
	Tmp           []string          // what is in /tmp, /var/tmp and /dev/shm
	Directory     string
	Open          []string // memory files and sockets that no program is to have
	Err           string   // of what it was to do
}

func look() (v view) {
	v = view{UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Namespaces: map[string]string{}}
	for _, name := range []string{"pid", "mnt", "ipc", "net", "uts"} {
		v.Namespaces[name], _ = os.Readlink("/proc/self/ns/" + name)
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			v.Err = err.Error()
		}
		for _, e := range entries {
			v.Tmp = append(v.Tmp, filepath.Join(dir, e.Name()))
		}
	}
	v.Directory, _ = os.Getwd()
	for fd := range 64 {
		link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err == nil && fd > 2 && (strings.Contains(link, "memfd:") || strings.Contains(link, "socket:")) {
			v.Open = append(v.Open, link)
		}
	}
	return v
}

// inBox says what it sees, on its standard output, and does something.
func inBox(do string) int {
	v := look()
	var err error
	switch do {
	case "look", "exit 117":
	case "wait": // for the end of its connection
	case "wait, swapoff":
		io.Copy(io.Discard, os.Stdin)
		err = swapoff()
	case "touch":
		err = os.WriteFile("/tmp/file", []byte("x"), 0o600)
	case "touch and remove":
		if err = os.WriteFile("/var/tmp/file", nil, 0o600); err == nil {
			err = os.Remove("/var/tmp/file")
		}
	case "shm":
		err = call(unix.SYS_SHMGET, 0, 4096, unix.IPC_CREAT|0o600)
	case "sem":
		err = call(unix.SYS_SEMGET, 0, 1, unix.IPC_CREAT|0o600)
	case "msg":
		err = call(unix.SYS_MSGGET, 0, unix.IPC_CREAT|0o600, 0)
	case "mode of mq": // of the directory of queues
		err = os.Chmod("/dev/mqueue", 0o711)
	case "times of mq":
		err = os.Chtimes("/dev/mqueue", time.Unix(7, 0), time.Unix(7, 0))
	case "mq":
		name, _ := unix.BytePtrFromString("queue")
		_, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
		if errno != 0 {
			err = errno
		}
	case "orphan": // a process in a session of its own, whose parent has ended
		err = exec.Command("/bin/sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & :").Run()
	case "sibling": // a process that is no child of this one
		runtime.LockOSThread()
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && pid == 0 {
			for {
				for fd := range uintptr(3) {
					unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
				}
				unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		if errno != 0 {
			err = errno
		}
	case "swapoff":
		err = swapoff()
	case "swapoff on a thread":
		result := make(chan error)
		for range 2 { // one of them is not on the main thread
			go func() {
				runtime.LockOSThread()
				if unix.Gettid() != unix.Getpid() {
					result <- swapoff()
				}
				select {}
			}()
		}
		err = <-result
	case "x32": // getpid by the number of another ABI
		err = call(1<<30|unix.SYS_GETPID, 0, 0, 0)
	case "swapoff in a child":
		child := exec.Command(helperPath)
		child.Env = []string{envDo + "=swapoff"}
		err = child.Run()
	default:
		err = fmt.Errorf("nobody knows how to %q", do)
	}
	if err != nil {
		v.Err = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return 1
	}
	switch do {
	case "exit 117":
		return 117
	case "wait":
		io.Copy(io.Discard, os.Stdin)
	}
	return 0
}

// swapoff makes a call that strict denies, and that fails without it, too.
func swapoff() error {
	if err := call(unix.SYS_SWAPOFF, 0, 0, 0); err != unix.EPERM && err != unix.EFAULT {
		return fmt.Errorf("swapoff: %v", err)
	}
	return nil
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// needBoxes skips a test where this process cannot make a strict box.
func needBoxes(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || !held(unix.CAP_SYS_ADMIN) {
		needtest.SkipAnywhere(t, "needs root and CAP_SYS_ADMIN")
	}
}

// strict returns a strict box in which the helper is.
func strict(t *testing.T) config.Box {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := config.PresetBox(config.BoxStrict)
	b.BindPaths = []config.BindPath{{Source: program, Target: helperPath, ReadOnly: true}}
	return b
}

// A house is a Manager with what the master has around it: threads, and a loop
// that reaps.
type house struct {
	t       *testing.T
	m       *Manager
	spawner *spawner.Spawner
	null    *os.File

	calls   chan func() // on the loop
	end     chan struct{}
	ended   chan struct{}
	workers map[int]*worker // the loop owns it, and what follows
	early   map[int]process.Exit
	holders int // how many processes of boxes were reaped
}

// A worker is a process that was started in a box.
type worker struct {
	command *process.Command
	child   *process.Child
	peer    net.Conn
	over    chan exit
}

// An exit is what became of a worker.
type exit struct {
	process.Exit
	failure   error
	leftovers int
	denied    process.Denied
	usage     *process.CellUsage
	kept      bool // its cell was at an end at once
}

// open returns a house. At the end of the test it is closed, and nothing may be left.
func open(t *testing.T) *house {
	t.Helper()
	h := build(t)
	go h.loop()
	return h
}

// build is open for a house whose loop does not run yet.
func build(t *testing.T) *house {
	t.Helper()
	needBoxes(t)
	before := descriptors(t)
	s, err := spawner.New(spawner.Config{Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, m: NewManager(s, zap.NewNop()), spawner: s, null: null,
		calls: make(chan func()), end: make(chan struct{}), ended: make(chan struct{}), workers: map[int]*worker{}, early: map[int]process.Exit{}}
	t.Cleanup(func() {
		h.close()
		for _, pid := range boxtest.Children(t) {
			t.Errorf("process %d is left", pid)
		}
		after := descriptors(t)
		for deadline := time.Now().Add(slowtest.Scale(time.Second)); len(after) > len(before) && time.Now().Before(deadline); after = descriptors(t) {
			time.Sleep(time.Millisecond) // connections that are being closed
		}
		if len(after) > len(before) {
			t.Errorf("descriptors were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	})
	return h
}

func (h *house) close() {
	h.stopLoop()
	h.m.Close()
	h.spawner.Close()
	h.null.Close()
}

func (h *house) stopLoop() {
	select {
	case <-h.ended:
	default:
		close(h.end)
		<-h.ended
	}
}

// descriptors lists what is open, but for what Go's runtime opens once.
func descriptors(t *testing.T) (open []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.Contains(link, "eventpoll") && !strings.Contains(link, "eventfd") && !strings.HasPrefix(link, "/proc/") {
			open = append(open, e.Name()+" "+link)
		}
	}
	return open
}

// loop reaps as the master's loop does. It asks again and again: SIGCHLD would be
// more to set up than it saves here.
func (h *house) loop() {
	defer close(h.ended)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case f := <-h.calls:
			f()
		case <-tick.C:
			h.reap()
		case <-h.end:
			return
		}
	}
}

func (h *house) reap() {
	for e, ok := process.Wait(process.AnyChild); ok; e, ok = process.Wait(process.AnyChild) {
		w := h.workers[e.Pid]
		switch {
		case w != nil:
			delete(h.workers, e.Pid)
			h.exited(w, e)
		case h.m.HolderReaped(e.Pid):
			h.holders++
		default:
			h.early[e.Pid] = e
		}
	}
}

func (h *house) exited(w *worker, e process.Exit) {
	x := exit{Exit: e, failure: w.command.Box.Failure(w.command, &e)}
	now, empty := w.child.Cell.Leave(func(r process.Remains) {
		later := x // from another goroutine
		later.leftovers, later.denied, later.usage = r.Leftovers, r.Denied, r.Usage
		w.over <- later
	})
	if empty {
		x.denied, x.usage, x.kept = now.Denied, now.Usage, true
		w.over <- x
	}
}

// adopt makes a worker known, which may have ended already.
func (h *house) adopt(w *worker) {
	pid := w.child.Pid
	e, over := h.early[pid]
	over = over && w.child.Reaped()
	w.child.ReleaseHandle()
	if over {
		delete(h.early, pid)
		h.exited(w, e)
	} else {
		h.workers[pid] = w
	}
}

// do calls a function on the loop.
func (h *house) do(f func()) {
	done := make(chan struct{})
	h.calls <- func() { f(); close(done) }
	<-done
}

// box returns a box that is in use.
func (h *house) box(cfg config.Box) *Box {
	h.t.Helper()
	b, err := h.m.Box("test", &cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return b.(*Box)
}

// command returns the command of the helper in a box.
func (h *house) command(b *Box) *process.Command {
	return &process.Command{Path: helperPath, Args: []string{"helper"}, Null: h.null, Stderr: os.Stderr, Box: b}
}

// start starts a command, with a TCP connection.
func (h *house) start(c *process.Command, do string) (*worker, error) {
	conn, peer, err := tcpPair()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return h.startWith(c, do, conn, peer)
}

// startWith starts a command with a connection, which may be nil. The file stays
// the caller's, the peer is the worker's.
func (h *house) startWith(c *process.Command, do string, conn *os.File, peer net.Conn) (*worker, error) {
	w := &worker{command: c, peer: peer, over: make(chan exit, 1)}
	child, err := h.spawner.Start(c, conn, []string{envDo + "=" + do}, nil)
	if err != nil {
		if peer != nil {
			peer.Close()
		}
		return nil, err
	}
	w.child = child
	h.do(func() { h.adopt(w) })
	return w, nil
}

// view waits for what the worker sees.
func (w *worker) view() (v view, err error) {
	w.peer.SetReadDeadline(time.Now().Add(slowtest.Scale(time.Minute)))
	err = json.NewDecoder(w.peer).Decode(&v)
	return v, err
}

// wait waits for the end of a worker, and of what it has left.
func (w *worker) wait() (exit, error) {
	if w.peer != nil {
		w.peer.Close()
	}
	select {
	case x := <-w.over:
		return x, nil
	case <-time.After(slowtest.Scale(time.Minute)):
		return exit{}, errors.New("the worker does not come to its end")
	}
}

// A run is what there is to know of a worker that has ended.
type run struct {
	exit
	view   view
	holder int // pid of the first process of its cell
}

// run runs a command to its end.
func (h *house) run(c *process.Command, do string) run {
	h.t.Helper()
	w, err := h.start(c, do)
	if err != nil {
		h.t.Fatalf("%s: %v", do, err)
	}
	return h.finish(w, do)
}

// finish waits for a worker's end. It must have done what it was to do.
func (h *house) finish(w *worker, do string) run {
	h.t.Helper()
	r := run{holder: w.child.Cell.(*cell).pid}
	var err error
	if r.view, err = w.view(); err != nil || r.view.Err != "" || len(r.view.Open) > 0 && !w.command.Control {
		h.t.Errorf("%s: %v %s, open: %q", do, err, r.view.Err, r.view.Open)
	}
	if r.exit, err = w.wait(); err != nil {
		h.t.Fatalf("%s: %v", do, err)
	}
	if r.failure != nil {
		h.t.Errorf("%s: %v", do, r.failure)
	}
	return r
}

// settle waits until the janitor has nothing to do.
func (h *house) settle() {
	h.t.Helper()
	h.await("the janitor has something to do", func() bool {
		h.m.mu.Lock()
		boxes := slices.Clone(h.m.boxes)
		h.m.mu.Unlock()
		for _, b := range boxes {
			b.mu.Lock()
			left := len(b.left)
			b.mu.Unlock()
			if left > 0 {
				return false
			}
		}
		j := h.m.janitor
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.queue) == 0 && j.busy == 0
	})
}

// await waits for a condition.
func (h *house) await(what string, condition func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal(what)
		}
	}
}

// idle returns the pids of the first processes of the idle cells.
func (b *Box) idlePIDs() (pids []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.idle {
		pids = append(pids, c.pid)
	}
	slices.Sort(pids)
	return pids
}

func tcpPair() (conn *os.File, peer net.Conn, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if peer, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	accepted, err := l.AcceptTCP()
	if err == nil {
		defer accepted.Close()
		conn, err = accepted.File()
	}
	if err != nil {
		peer.Close()
	}
	return conn, peer, err
}

// unixPair returns a connection of unix sockets.
func unixPair(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "peer")
	defer file.Close()
	peer, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "connection"), peer
}

// checkBox prints the error of a box.
func checkBox(text string) int {
	var cfg config.Box
	err := json.Unmarshal([]byte(text), &cfg)
	if err == nil {
		var s *spawner.Spawner
		if s, err = spawner.New(spawner.Config{Log: zap.NewNop()}); err == nil {
			defer s.Close()
			m := NewManager(s, zap.NewNop())
			defer m.Close()
			_, err = m.Box("test", &cfg)
		}
	}
	var missing *MissingError
	if errors.As(err, &missing) {
		fmt.Printf("%s\n", missing.Key)
	}
	fmt.Println(err)
	return 0
}

// checkAs runs checkBox in another process, and returns what it prints.
func checkAs(t *testing.T, cfg config.Box, attr *syscall.SysProcAttr) string {
	t.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envCheck+"="+string(text))
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

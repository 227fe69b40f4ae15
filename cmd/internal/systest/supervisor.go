package systest

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A Supervisor plays the service manager's side of sd_notify(3): it takes what a
// master tells it, and stores descriptors.
type Supervisor struct {
	path string
	lent sync.WaitGroup // descriptors that a start is to close

	mu       sync.Mutex // guards what follows
	messages []string
	stored   map[string][]*os.File // nil when nothing is to be stored
	changed  chan struct{}         // closed and replaced with every message
	holding  bool                  // what is said is to be acted upon later
	held     []func()              // that
}

// NewSupervisor returns a supervisor that reads until the test ends.
func NewSupervisor(t testing.TB) *Supervisor {
	t.Helper()
	s := &Supervisor{path: filepath.Join(Dir(t), "notify"), stored: map[string][]*os.File{}, changed: make(chan struct{})}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s.receive(conn) {
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
		for name := range s.stored {
			s.remove(name)
		}
	})
	return s
}

// StoreNothing has it close what it is given to store, as a manager without a
// store does.
func (s *Supervisor) StoreNothing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = nil
}

// Hold has it act on nothing that it is told until resume is called, as a
// manager that has much to do.
func (s *Supervisor) Hold() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, act := range s.held {
			act()
		}
		s.holding, s.held = false, nil
	}
}

// Env returns the variable that tells a master of the supervisor.
func (s *Supervisor) Env() string { return "NOTIFY_SOCKET=" + s.path }

func (s *Supervisor) receive(conn *net.UnixConn) bool {
	var text, oob [4096]byte
	n, oobn, _, _, err := conn.ReadMsgUnix(text[:], oob[:])
	if err != nil {
		return false
	}
	var files []*os.File
	if messages, err := syscall.ParseSocketControlMessage(oob[:oobn]); err == nil {
		for i := range messages {
			fds, _ := syscall.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				syscall.CloseOnExec(fd)
				files = append(files, os.NewFile(uintptr(fd), "stored"))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	message := string(text[:n])
	if act := func() { s.act(message, files) }; s.holding {
		s.held = append(s.held, act)
	} else {
		act()
	}
	s.messages = append(s.messages, message)
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

// act does what a message says with the descriptors that came with it.
func (s *Supervisor) act(message string, files []*os.File) {
	name := ""
	for line := range strings.Lines(message) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "FDNAME="); ok {
			name = value
		}
	}
	switch {
	case strings.HasPrefix(message, "FDSTORE=1\n") && s.stored != nil:
		s.stored[name] = append(s.stored[name], files...)
	case strings.HasPrefix(message, "FDSTOREREMOVE=1\n"):
		s.remove(name)
	default:
		s.lent.Wait()
		for _, f := range files { // a barrier's
			f.Close()
		}
	}
}

func (s *Supervisor) remove(name string) {
	for _, f := range s.stored[name] {
		f.Close()
	}
	delete(s.stored, name)
}

// Say sends the supervisor a message as a service does. What others have sent
// before is read before it.
func (s *Supervisor) Say(t testing.TB, message string) {
	t.Helper()
	conn, err := net.Dial("unixgram", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(message)); err != nil {
		t.Fatal(err)
	}
}

// Messages returns what was said so far, in order.
func (s *Supervisor) Messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

// WaitFor waits until one of the messages from the one with this index on is a
// match, and returns the index behind it.
func (s *Supervisor) WaitFor(t testing.TB, from int, what string, match func(string) bool) int {
	t.Helper()
	next := 0
	Until(t, what, func() bool {
		for i, message := range s.Messages() {
			if i >= from && match(message) {
				next = i + 1
				return true
			}
		}
		return false
	}, func() string { return strings.Join(s.Messages(), "\n--\n") })
	return next
}

// Stored returns duplicates of the descriptors that are stored, to be passed to
// the next master, whose start closes them. No barrier is answered before.
func (s *Supervisor) Stored(t testing.TB) []Passed {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var passed []Passed
	for name, files := range s.stored {
		for _, f := range files {
			fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			dup := os.NewFile(uintptr(fd), name)
			s.lent.Add(1)
			passed = append(passed, Passed{File: dup, Name: name, lent: &s.lent})
		}
	}
	return passed
}

// Stores returns how many descriptors are stored.
func (s *Supervisor) Stores() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, files := range s.stored {
		n += len(files)
	}
	return n
}

// A Passed is a descriptor that a master is started with, and its name; empty
// for one whose unit gives it none.
type Passed struct {
	File *os.File
	Name string
	lent *sync.WaitGroup // of a supervisor that wants to know when it is closed
}

// passed closes what was lent for the start of a master that has it by now.
func (o *Options) passed() {
	for _, p := range o.Passed {
		if p.lent != nil {
			p.File.Close()
			p.lent.Done()
		}
	}
}

// pass has a command find the descriptors as sd_listen_fds(3) says. LISTEN_PID
// is the process's own, so a shell sets it.
func pass(o *Options) (files []*os.File) {
	if len(o.Passed) == 0 {
		return nil
	}
	var names []string
	for _, p := range o.Passed {
		files = append(files, p.File)
		names = append(names, cmp.Or(p.Name, "unknown"))
	}
	o.Env = append(o.Env, "LISTEN_FDNAMES="+strings.Join(names, ":"))
	o.Wrap = append([]string{"/bin/sh", "-c", `LISTEN_FDS=$1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; shift; exec "$@"`, "sh", strconv.Itoa(len(files))}, o.Wrap...)
	return files
}

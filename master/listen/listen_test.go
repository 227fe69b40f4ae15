package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// slots is a Slots with a fixed number of slots.
type slots struct {
	mu   sync.Mutex
	free int
}

func (s *slots) Reserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 {
		return false
	}
	s.free--
	return true
}

func (s *slots) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
}

func listenAt(t *testing.T, address string) *Listener {
	t.Helper()
	l, err := tryOpen(t, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryOpen(t *testing.T, address string) (*Listener, error) {
	t.Helper()
	a, err := config.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := Open(a, Defaults())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { CloseAll(listeners) })
	return listeners[0], nil
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	network, address := "tcp", l.Local()
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// await accepts as soon as a connection waits.
func await(l *Listener, s Slots) (*Conn, error) {
	for {
		c, err := l.Accept(s)
		if err != ErrNone {
			return c, err
		}
		time.Sleep(time.Millisecond)
	}
}

func accept(t *testing.T, l *Listener) *Conn {
	t.Helper()
	c, err := await(l, &slots{free: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(c.FD) })
	return c
}

func sockopt(t *testing.T, fd, level, name int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestConnectionsAreReadyToInherit(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0", "localhost:0",
		"unix:" + filepath.Join(t.TempDir(), "s"), "unix:@preforkd-listen-test"} {
		t.Run(address, func(t *testing.T) {
			l := listenAt(t, address)
			client := dial(t, l)
			c := accept(t, l)
			flags, err := unix.FcntlInt(uintptr(c.FD), unix.F_GETFL, 0)
			if err != nil || flags&unix.O_NONBLOCK != 0 {
				t.Errorf("flags %#x, %v: not blocking", flags, err)
			}
			flags, err = unix.FcntlInt(uintptr(c.FD), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor flags %#x, %v: a concurrent spawn would inherit it", flags, err)
			}
			if c.IsUnix() {
				if int(c.Credentials.Uid) != os.Getuid() || int(c.Credentials.Pid) != os.Getpid() {
					t.Errorf("credentials %+v", c.Credentials)
				}
				if want := fmt.Sprintf("unix:uid=%d,pid=%d", os.Getuid(), os.Getpid()); c.PeerName() != want {
					t.Errorf("peer %q, want %q", c.PeerName(), want)
				}
				if c.LocalName() != address {
					t.Errorf("local %q, want %q", c.LocalName(), address)
				}
				return
			}
			if got, want := c.PeerName(), client.LocalAddr().String(); got != want {
				t.Errorf("peer %q, want %q", got, want)
			}
			if got, want := c.LocalName(), client.RemoteAddr().String(); got != want {
				t.Errorf("local %q, want %q", got, want)
			}
			for name, o := range map[string]struct{ level, name, want int }{
				"protocol":  {unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
				"keepalive": {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				"idle":      {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
				"interval":  {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
				"probes":    {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
				"nodelay":   {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			} {
				if got := sockopt(t, c.FD, o.level, o.name); got != o.want {
					t.Errorf("%s is %d, want %d", name, got, o.want)
				}
			}
		})
	}
}

func TestDualStackKnowsMappedPeersAsV4(t *testing.T) {
	l := listenAt(t, ":0")
	c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", l.Local()[strings.LastIndexByte(l.Local(), ':')+1:]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := accept(t, l).PeerName(), c.LocalAddr().String(); got != want {
		t.Errorf("peer %q, want %q", got, want)
	}
}

func TestWildcardsOfBothFamiliesShareAPort(t *testing.T) {
	for try := 1; ; try++ {
		v6 := listenAt(t, "[::]:0")
		port := v6.Local()[strings.LastIndexByte(v6.Local(), ':'):]
		v4, err := tryOpen(t, "0.0.0.0"+port)
		switch {
		case errors.Is(err, unix.EADDRINUSE) && try < 5:
			continue // somebody else's connection has this port over IPv4
		case err != nil:
			t.Error(err)
		case v4.Local() != "0.0.0.0"+port:
			t.Errorf("local %q", v4.Local())
		}
		return
	}
}

func TestAddressInUse(t *testing.T) {
	l := listenAt(t, "127.0.0.1:0")
	_, err := tryOpen(t, l.Local())
	if !errors.Is(err, unix.EADDRINUSE) || err.Error() != "listen "+l.Local()+": address already in use" {
		t.Errorf("got %v", err)
	}
	if _, err := tryOpen(t, strings.Replace(l.Local(), "127.0.0.1", "127.0.0.2", 1)); err != nil {
		t.Errorf("the same port at another address: %v", err)
	}
}

func TestAcceptTakesASlotOnlyWithAConnection(t *testing.T) {
	l := listenAt(t, "127.0.0.1:0")
	s := &slots{free: 1}
	if _, err := l.Accept(s); err != ErrNone || s.free != 1 {
		t.Fatalf("no connection: %v, %d slots free", err, s.free)
	}
	dial(t, l)
	c, err := await(l, s)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(c.FD)
	if s.free != 0 {
		t.Errorf("%d slots free after an accept", s.free)
	}
	dial(t, l)
	if _, err := l.Accept(s); err != ErrFull {
		t.Errorf("accept without a slot: %v", err)
	}
	s.Cancel()
	c, err = await(l, s)
	if err != nil {
		t.Fatalf("the connection did not wait: %v", err)
	}
	unix.Close(c.FD)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Cancel()
	if _, err := l.Accept(s); err != ErrClosed || s.free != 1 {
		t.Errorf("a closed listener: %v, %d slots free", err, s.free)
	}
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
}

// A set tells of connections at a listener until it is not watched any more, or closed,
// also if somebody else still holds the socket.
func TestWatch(t *testing.T) {
	set, err := epoll.New()
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	events := make([]unix.EpollEvent, 4)
	reported := func(l *Listener, want bool) {
		t.Helper()
		within := slowtest.Scale(time.Minute)
		if !want {
			within = 5 * time.Millisecond
		}
		if err := set.SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		n, _, err := set.Wait(events)
		if got := n == 1 && events[0].Fd == 7; got != want {
			t.Errorf("reported %v, want %v: %v", got, want, err)
		}
	}
	l := listenAt(t, "127.0.0.1:0")
	for range 2 { // the second time it is watched already
		if err := l.Watch(set, 7); err != nil {
			t.Fatal(err)
		}
	}
	reported(l, false)
	dial(t, l)
	reported(l, true)
	l.Unwatch()
	l.Unwatch()
	reported(l, false)
	if err := l.Watch(set, 7); err != nil {
		t.Fatal(err)
	}
	reported(l, true)
	var copied int
	if err := l.Descriptor(func(fd int) (err error) { copied, err = unix.Dup(fd); return err }); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	reported(l, false)
	if err := l.Watch(set, 7); err != ErrClosed {
		t.Errorf("watch a closed listener: %v", err)
	}
}

func TestUnixSocketFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	exists := func(name string) bool { _, err := os.Lstat(path(name)); return err == nil }

	t.Run("removed at close", func(t *testing.T) {
		l := listenAt(t, "unix:"+path("a"))
		if err := l.Close(); err != nil || exists("a") {
			t.Errorf("close: %v, still there: %v", err, exists("a"))
		}
	})
	t.Run("stale is replaced", func(t *testing.T) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path("b")}); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		dial(t, listenAt(t, "unix:"+path("b")))
	})
	t.Run("live is left alone", func(t *testing.T) {
		l := listenAt(t, "unix:"+path("c"))
		if _, err := tryOpen(t, "unix:"+path("c")); err == nil || !strings.Contains(err.Error(), "address already in use by a live server") {
			t.Errorf("got %v", err)
		}
		dial(t, l)
	})
	t.Run("live datagram server is left alone", func(t *testing.T) {
		c, err := net.ListenPacket("unixgram", path("d"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := tryOpen(t, "unix:"+path("d")); err == nil || !exists("d") {
			t.Errorf("got %v, still there: %v", err, exists("d"))
		}
	})
	t.Run("other files are left alone", func(t *testing.T) {
		if err := os.WriteFile(path("e"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tryOpen(t, "unix:"+path("e")); err == nil || !strings.Contains(err.Error(), "is not a socket") || !exists("e") {
			t.Errorf("got %v, still there: %v", err, exists("e"))
		}
	})
	t.Run("a successor's is left alone", func(t *testing.T) {
		l := listenAt(t, "unix:"+path("f"))
		if err := os.Remove(path("f")); err != nil {
			t.Fatal(err)
		}
		successor := listenAt(t, "unix:"+path("f"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		dial(t, successor)
	})
	t.Run("removed without a free descriptor", func(t *testing.T) {
		l := listenAt(t, "unix:"+path("j"))
		var limit unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
			t.Fatal(err)
		}
		none := unix.Rlimit{Cur: 0, Max: limit.Max}
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &none, nil); err != nil {
			t.Fatal(err)
		}
		err := l.Close()
		if restored := unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil); restored != nil {
			t.Fatal(restored)
		}
		if err != nil || exists("j") {
			t.Errorf("close: %v, still there: %v", err, exists("j"))
		}
	})
	t.Run("no such directory", func(t *testing.T) {
		if _, err := tryOpen(t, "unix:"+path("none/x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("many masters, one stale socket", func(t *testing.T) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path("g")}); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		opened := make(chan *Listener, 16)
		var wg sync.WaitGroup
		for range cap(opened) {
			wg.Go(func() {
				if l, err := openUnix(path("g"), Defaults()); err == nil {
					opened <- l
				}
			})
		}
		wg.Wait()
		close(opened)
		if len(opened) != 1 {
			t.Errorf("%d masters have the socket, want 1", len(opened))
		}
		for l := range opened {
			dial(t, l)
			l.Close()
		}
	})
}

func TestAbstractPeerNames(t *testing.T) {
	l := listenAt(t, "unix:@preforkd-listen-test")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@peer\x00with=NUL"}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: "@preforkd-listen-test"}); err != nil {
		t.Fatal(err)
	}
	if got := accept(t, l).PeerName(); got != "unix:@peer" {
		t.Errorf("peer %q", got)
	}
}

func TestClassify(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ECONNABORTED, unix.EPROTO, unix.EHOSTUNREACH, unix.EPERM} {
		if Classify(errno) != Harmless {
			t.Errorf("%v ends or delays the loop", errno)
		}
	}
	for _, err := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EINVAL, errors.New("new")} {
		if Classify(err) != Exhausted {
			t.Errorf("%v would spin", err)
		}
	}
}

func TestBacklogIsTheKernels(t *testing.T) {
	if n := maxBacklog(); n < 1 {
		t.Errorf("backlog %d", n)
	}
}

// Inode returns the number under which the kernel lists the socket.
func TestInode(t *testing.T) {
	queues := func() map[uint64]sockdiag.Queue {
		found, err := sockdiag.Listening()
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, address := range []string{"127.0.0.1:0", "unix:@inode-of-a-listener-" + fmt.Sprint(os.Getpid())} {
		l := listenAt(t, address)
		inode, err := l.Inode()
		if err != nil {
			t.Fatal(err)
		}
		if _, there := queues()[inode]; !there {
			t.Errorf("%s: no listening socket %d", address, inode)
		}
		l.Close()
		if _, err := l.Inode(); err == nil {
			t.Errorf("%s: a closed listener has an inode", address)
		}
	}
}

// When Close returns, the address is free, however many are in Accept.
func TestCloseFreesTheAddress(t *testing.T) {
	l := listenAt(t, "127.0.0.1:0")
	address := l.Local()
	for range 200 {
		var waiting sync.WaitGroup
		closing := l
		for range 8 {
			waiting.Go(func() {
				if _, err := await(closing, &slots{free: 1}); !errors.Is(err, ErrClosed) {
					t.Errorf("unexpected error: %v", err)
				}
			})
		}
		runtime.Gosched()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = listenAt(t, address)
		waiting.Wait()
	}
	l.Close()
}

package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/epoll"
)

// An atticTest is listeners in an attic, which a set reports by their indexes.
type atticTest struct {
	t         *testing.T
	attic     *Attic
	set       *epoll.Set
	listeners []*Listener
	close     func() // the set and the attic; the end of the test does, too
}

// newAtticTest makes n listeners that are watched, and does not store them.
func newAtticTest(t *testing.T, n int) *atticTest {
	t.Helper()
	at := &atticTest{t: t}
	var err error
	if at.attic, err = OpenAttic(); err != nil {
		t.Fatal(err)
	}
	if at.set, err = epoll.New(); err != nil {
		at.attic.Close()
		t.Fatal(err)
	}
	at.close = sync.OnceFunc(func() {
		at.set.Close()
		at.attic.Close()
	})
	t.Cleanup(at.close)
	for range n {
		at.listeners = append(at.listeners, listenAt(t, "127.0.0.1:0"))
	}
	at.watch(at.listeners...)
	return at
}

func (at *atticTest) watch(listeners ...*Listener) {
	at.t.Helper()
	for _, l := range listeners {
		for key := range at.listeners {
			if at.listeners[key] == l {
				if err := l.Watch(at.set, int32(key)); err != nil {
					at.t.Fatal(err)
				}
			}
		}
	}
}

func (at *atticTest) store() {
	at.t.Helper()
	if err := at.attic.Store(at.listeners); err != nil {
		at.t.Fatal(err)
	}
}

// ready returns the listeners that the set reports, which must be n in time.
func (at *atticTest) ready(n int) map[*Listener]bool {
	at.t.Helper()
	if err := at.set.SetDeadline(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		at.t.Fatal(err)
	}
	found := map[*Listener]bool{}
	var events [16]unix.EpollEvent
	for len(found) < n {
		got, _, err := at.set.Wait(events[:])
		if err != nil {
			at.t.Fatalf("%d are ready, want %d: %v", len(found), n, err)
		}
		for _, e := range events[:got] {
			found[at.listeners[e.Fd]] = true
		}
	}
	return found
}

// silent fails the test when the set reports anything.
func (at *atticTest) silent() {
	at.t.Helper()
	if err := at.set.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
		at.t.Fatal(err)
	}
	var events [1]unix.EpollEvent
	if n, _, err := at.set.Wait(events[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		at.t.Fatalf("%d are ready, the first of them %d, %v; want none", n, events[0].Fd, err)
	}
}

// inAttic returns how many descriptors are in the table of the attic's thread.
func (at *atticTest) inAttic() int {
	at.t.Helper()
	var tid int
	at.attic.thread.Do(func() { tid = unix.Gettid() })
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/task/%d/fd", tid))
	if err != nil {
		at.t.Fatal(err)
	}
	return len(entries)
}

// serve connects to a listener and accepts the connection when it is reported.
func (at *atticTest) serve(l *Listener) {
	at.t.Helper()
	dial(at.t, l).Close()
	if !at.ready(1)[l] {
		at.t.Fatalf("another one than %s is ready", l.Local())
	}
	unix.Close(accept(at.t, l).FD)
}

// Stored listeners leave the table of the process. They are watched and accept as before,
// also what waited before, and are told from each other.
func TestAttic(t *testing.T) {
	const n = 2*batchSize + 7
	at := newAtticTest(t, n)
	at.listeners[1].Unwatch()
	at.listeners[2].Close()
	waiting := dial(t, at.listeners[3])
	empty, before := at.inAttic(), fdtest.Open(t)
	at.store()
	at.store() // which has nothing to do
	if now := fdtest.Open(t); now != before-(n-1) {
		t.Errorf("%d descriptors, want %d", now, before-(n-1))
	}
	if now := at.inAttic(); now != empty+n-1+1 {
		t.Errorf("%d descriptors are in the attic, want %d: the listeners, and their set", now, empty+n)
	}
	if !at.ready(1)[at.listeners[3]] {
		t.Error("another one is ready than that at which somebody waits")
	}
	if c := accept(t, at.listeners[3]); c.PeerName() != waiting.LocalAddr().String() || c.LocalName() != at.listeners[3].Local() {
		t.Errorf("%s came to %s", c.PeerName(), c.LocalName())
	}
	at.silent()
	for _, l := range []*Listener{at.listeners[0], at.listeners[batchSize], at.listeners[n-1], at.listeners[0]} {
		at.serve(l)
	}

	l := at.listeners[1] // it was not watched
	dial(t, l)
	at.silent()
	at.watch(l)
	if !at.ready(1)[l] {
		t.Error("another one is ready than that which is watched now")
	}
	l.Unwatch()
	l.Unwatch()
	at.silent()
	if !l.Waiting() {
		t.Error("nobody waits at a listener that is not watched")
	}
	if waiting, limit, ok := l.Queue(); waiting != 1 || limit < 1 || !ok {
		t.Errorf("%d of %d wait, %v", waiting, limit, ok)
	}
	if inode, err := l.Inode(); inode == 0 || err != nil {
		t.Errorf("inode %d, %v", inode, err)
	}
	o := Defaults()
	o.Keepalive, o.Backlog = 77*time.Second, 5
	if err := l.Apply(o); err != nil {
		t.Error(err)
	}
	if c := accept(t, l); sockopt(t, c.FD, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) == 77 {
		t.Error("a connection from before has an option from after")
	}
	dial(t, l)
	if c := accept(t, l); sockopt(t, c.FD, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) != 77 {
		t.Error("a connection has not the option that its listener was given")
	}

	for _, l := range at.listeners[n-3:] {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	at.attic.CloseListeners(at.listeners)
	for _, l := range at.listeners {
		if err := l.Close(); !errors.Is(err, ErrClosed) {
			t.Fatalf("close of a listener that is closed: %v", err)
		}
		if _, err := tryOpen(t, l.Local()); err != nil {
			t.Fatalf("its address is not free: %v", err)
		}
	}
	if now := at.inAttic(); now != empty+1 {
		t.Errorf("%d descriptors are left in the attic, want %d", now, empty+1)
	}
}

// An attic leaves nothing in the table of the process.
func TestAtticLeavesNothing(t *testing.T) {
	before := fdtest.Open(t)
	at := newAtticTest(t, 3*maxLent)
	at.store()
	var conns []*Conn
	var clients []net.Conn
	for _, l := range at.listeners {
		clients = append(clients, dial(t, l))
		conns = append(conns, accept(t, l))
	}
	at.attic.CloseListeners(at.listeners[:maxLent])
	CloseAll(at.listeners)
	for i, c := range conns {
		unix.Close(c.FD)
		clients[i].Close()
	}
	at.close()
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors are left, want %d", now, before)
	}
}

// With a connection at more listeners than may have a copy of their sockets, all
// connections are accepted, few copies stay, and those without one are watched as before.
func TestAtticLendsFew(t *testing.T) {
	const n = 3 * maxLent
	at := newAtticTest(t, n)
	at.store()
	before := fdtest.Open(t)
	const rounds = 3
	for range rounds {
		for _, l := range at.listeners {
			dial(t, l).Close()
		}
		for l := range at.ready(n) {
			// While it is served it is not watched. Then its copy is.
			unix.Close(accept(t, l).FD)
			l.Unwatch()
			at.watch(l)
		}
		at.silent()
		if now := fdtest.Open(t); now > before+maxLent+1 {
			t.Errorf("%d descriptors, want at most %d: with copies, and a handle of the thread", now, before+maxLent+1)
		}
	}
	for _, l := range at.listeners {
		l.Unwatch()
		dial(t, l).Close()
	}
	at.silent()
	at.watch(at.listeners...)
	at.ready(n)
	// One that has a copy, and is watched by it, leaves the set when it is closed.
	CloseAll(at.listeners)
	at.silent()
}

// A copy that is in use is not closed for want of room.
func TestAtticKeepsWhatIsUsed(t *testing.T) {
	at := newAtticTest(t, 2*maxLent)
	at.store()
	l := at.listeners[0]
	err := l.Descriptor(func(fd int) error {
		for _, other := range at.listeners[1:] {
			if err := other.Descriptor(func(int) error { return nil }); err != nil {
				return err
			}
		}
		_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	at.serve(l)
	if n := len(at.attic.lent); n > maxLent {
		t.Errorf("%d copies, want at most %d", n, maxLent)
	}
}

// A listener that is stored is replaced as any other is.
func TestAtticReplace(t *testing.T) {
	at := newAtticTest(t, 2)
	at.store()
	old := at.listeners[0]
	early := dial(t, old)
	fresh, err := old.Reopen(Defaults(), []Controller{at.listeners[1].Raw()}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fresh.Close() })
	if err := old.StopArrivals(); err != nil {
		t.Fatal(err)
	}
	if err := at.attic.Store([]*Listener{fresh}); err != nil {
		t.Fatal(err)
	}
	late := dial(t, fresh)
	for l, client := range map[*Listener]net.Conn{old: early, fresh: late} {
		if got := accept(t, l).PeerName(); got != client.LocalAddr().String() {
			t.Errorf("%s, want %s", got, client.LocalAddr())
		}
	}
	if reusePort(t, old) != 0 || reusePort(t, fresh) != 0 {
		t.Error("others may share the port")
	}
}

// A unix socket stays where it is, and goes on.
func TestAtticLeavesUnixSockets(t *testing.T) {
	at := newAtticTest(t, 0)
	l := listenAt(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	at.listeners = []*Listener{l}
	at.watch(l)
	before := fdtest.Open(t)
	at.store()
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors, want %d", now, before)
	}
	at.serve(l)
	at.attic.CloseListeners(at.listeners)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Without room on the thread, listeners stay where they are and go on. With room they
// move later.
func TestAtticWithoutRoom(t *testing.T) {
	at := newAtticTest(t, 100)
	before := fdtest.Open(t)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = 50
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err := at.attic.Store(at.listeners)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("%v, want EMFILE", err)
	}
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors, want %d", now, before)
	}
	at.serve(at.listeners[99])
	at.store()
	if now := fdtest.Open(t); now > before-90 {
		t.Errorf("%d descriptors of %d are left", now, before)
	}
	at.serve(at.listeners[99])
}

// A listener that cannot be watched in the attic stays where it is, and is watched there.
func TestAtticWithoutWatch(t *testing.T) {
	at := newAtticTest(t, 3)
	at.store()
	l := listenAt(t, "127.0.0.1:0")
	at.listeners = append(at.listeners, l)
	at.watch(l)
	set := at.attic.sets[at.set]
	at.attic.sets[at.set] = -1
	before, there := fdtest.Open(t), at.inAttic()
	if err := at.attic.Store(at.listeners); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v, want EBADF", err)
	}
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors, want %d", now, before)
	}
	if now := at.inAttic(); now != there {
		t.Errorf("%d descriptors are in the attic, want %d", now, there)
	}
	at.attic.sets[at.set] = set
	at.serve(l)
	at.store()
	at.serve(l)
}

// While listeners move, every connection is reported and accepted, and closing them
// ends every Accept.
func TestAtticWhileAccepting(t *testing.T) {
	const n, connections = 3 * maxLent, 600
	at := newAtticTest(t, n)
	var accepted atomic.Int32
	var working sync.WaitGroup
	if err := at.set.SetDeadline(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		t.Fatal(err)
	}
	takes := func(l *Listener) {
		c, err := l.Accept(&slots{free: 1})
		switch {
		case err == nil:
			unix.Close(c.FD)
			accepted.Add(1)
		case !errors.Is(err, ErrNone) && !errors.Is(err, ErrClosed):
			t.Errorf("accept: %v", err)
		}
	}
	working.Go(func() { // who leads
		for {
			var events [1]unix.EpollEvent
			if _, _, err := at.set.Wait(events[:]); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d connections were accepted, want %d", accepted.Load(), connections)
				}
				return // closed
			}
			l := at.listeners[events[0].Fd]
			l.Unwatch()
			takes(l)
			if err := l.Watch(at.set, events[0].Fd); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("watch: %v", err)
			}
		}
	})
	over := make(chan struct{})
	for k := range 2 { // and who looks without being told
		working.Go(func() {
			for i := k; ; i++ {
				select {
				case <-over:
					return
				default:
					takes(at.listeners[i*7%n])
				}
			}
		})
	}
	for i := range connections {
		switch i {
		case connections / 4:
			working.Go(func() {
				if err := at.attic.Store(at.listeners[:n/2]); err != nil {
					t.Error(err)
				}
			})
		case connections / 2:
			working.Go(func() {
				if err := at.attic.Store(at.listeners); err != nil {
					t.Error(err)
				}
			})
		}
		dial(t, at.listeners[i*11%n]).Close()
	}
	slowtest.Await(t, "all connections are accepted", func() bool { return accepted.Load() == connections })
	var closing sync.WaitGroup
	closing.Go(func() { at.attic.CloseListeners(at.listeners[:n/2]) })
	closing.Go(func() { CloseAll(at.listeners) })
	closing.Wait()
	for _, l := range at.listeners {
		if _, err := l.Accept(&slots{free: 1}); !errors.Is(err, ErrClosed) {
			t.Fatalf("accept from a listener that is closed: %v", err)
		}
	}
	close(over)
	at.set.Close()
	working.Wait()
}

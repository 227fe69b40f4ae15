package fdpark

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"golang.org/x/sys/unix"
)

func openThread(t *testing.T) *Thread {
	t.Helper()
	thread, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return thread
}

// pairs makes connected sockets. A read from a peer fails after a minute. So a
// descriptor that is open by mistake fails the test and does not stop it.
func pairs(t *testing.T, n int) (ours, peers []int) {
	t.Helper()
	for range n {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptTimeval(pair[1], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}); err != nil {
			t.Fatal(err)
		}
		ours, peers = append(ours, pair[0]), append(peers, pair[1])
	}
	return ours, peers
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// read returns what has come to a socket. At the end of the stream it returns
// "" and no error.
func read(fd int) (string, error) {
	buf := make([]byte, 16)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

// letter is what these tests send to descriptor i.
func letter(i int) string { return string(rune('a' + i%26)) }

func write(t *testing.T, fd int, text string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// withLimit runs f while the process may have n descriptors in a table.
func withLimit(t *testing.T, n uint64, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = n
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
}

// A parked descriptor is the same open file. It is no longer in the table of
// the process, and Close closes it.
func TestPark(t *testing.T) {
	const n = 2*MaxTogether + 7
	before := fdtest.Open(t)
	thread := openThread(t)
	ours, peers := pairs(t, n)
	parked, err := thread.Park(ours)
	if err != nil || len(parked) != n {
		t.Fatalf("%d numbers, %v", len(parked), err)
	}
	closeAll(ours)
	if now := fdtest.Open(t); now != before+1+n {
		t.Errorf("%d descriptors, want %d: those before, the socket of the thread, and the peers", now, before+1+n)
	}
	for i, fd := range peers {
		write(t, fd, letter(i))
	}
	for i, fd := range parked {
		var got string
		thread.Do(func() { got, err = read(fd) })
		if got != letter(i) || err != nil {
			t.Fatalf("descriptor %d: %q, %v", i, got, err)
		}
	}
	thread.Do(func() { unix.Close(parked[0]) })
	if got, err := read(peers[0]); got != "" || err != nil {
		t.Errorf("after it was closed inside Do: %q, %v", got, err)
	}
	thread.Close()
	for _, fd := range peers { // read waits until the thread has ended
		if got, err := read(fd); got != "" || err != nil {
			t.Fatalf("after Close: %q, %v", got, err)
		}
	}
	closeAll(peers)
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors are left, want %d", now, before)
	}
}

// A descriptor that was taken back is the same open file in the table of the
// process, and no copy of it stays parked.
func TestTakeBack(t *testing.T) {
	const n = 2*MaxTogether + 7
	thread := openThread(t)
	defer thread.Close()
	ours, peers := pairs(t, n)
	defer closeAll(peers)
	parked, err := thread.Park(ours)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(ours)
	before := fdtest.Open(t)
	fds, err := thread.TakeBack(parked)
	if err != nil || len(fds) != n {
		t.Fatalf("%d numbers, %v", len(fds), err)
	}
	if now := fdtest.Open(t); now != before+n {
		t.Errorf("%d descriptors, want %d", now, before+n)
	}
	for i, fd := range fds {
		write(t, peers[i], letter(i))
		if got, err := read(fd); got != letter(i) || err != nil {
			t.Fatalf("descriptor %d: %q, %v", i, got, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags != unix.FD_CLOEXEC || err != nil {
			t.Errorf("descriptor %d has flags %d, %v; want FD_CLOEXEC", i, flags, err)
		}
	}
	closeAll(fds)
	for i, fd := range peers {
		if got, err := read(fd); got != "" || err != nil {
			t.Fatalf("peer %d, after what was taken back is closed: %q, %v", i, got, err)
		}
	}
}

// A descriptor that was lent is a copy of the parked one, which can be lent again
// and outlives it. So it is where the kernel has no handle of a thread.
func TestLend(t *testing.T) {
	t.Run("by handle", func(t *testing.T) { testLend(t, 0) })
	t.Run("by message", func(t *testing.T) { testLend(t, noHandle) })
}

func testLend(t *testing.T, handle int) {
	before := fdtest.Open(t)
	thread := openThread(t)
	thread.handle = handle
	ours, peers := pairs(t, 3)
	parked, err := thread.Park(ours)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(ours)
	for i := range 3 {
		fd, err := thread.Lend(parked[1])
		if err != nil {
			t.Fatal(err)
		}
		write(t, peers[1], letter(i))
		if got, err := read(fd); got != letter(i) || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags != unix.FD_CLOEXEC || err != nil {
			t.Errorf("flags %d, %v; want FD_CLOEXEC", flags, err)
		}
		unix.Close(fd)
	}
	var got string
	use := func(fd int) { got, err = read(fd) }
	write(t, peers[1], "x")
	thread.Do(func() { use(parked[1]) })
	if got != "x" || err != nil {
		t.Errorf("on the thread: %q, %v", got, err)
	}
	open := fdtest.Open(t)
	write(t, peers[1], "y")
	if thread.Use(parked[1], use); got != "y" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if now := fdtest.Open(t); now != open {
		t.Errorf("%d descriptors after a use, %d before", now, open)
	}
	withLimit(t, 3, func() {
		write(t, peers[1], "z")
		if thread.Use(parked[1], use); got != "z" || err != nil {
			t.Errorf("without room: %q, %v", got, err)
		}
		if fd, err := thread.Lend(parked[1]); fd >= 0 || !errors.Is(err, unix.EMFILE) {
			t.Errorf("without room: %d, %v; want EMFILE", fd, err)
		}
	})
	if fd, err := thread.Lend(-1); fd >= 0 || !errors.Is(err, unix.EBADF) {
		t.Errorf("%d, %v; want EBADF", fd, err)
	}
	fd, err := thread.Lend(parked[2])
	if err != nil {
		t.Fatal(err)
	}
	thread.Close()
	write(t, peers[2], "y")
	if got, err := read(fd); got != "y" || err != nil {
		t.Errorf("after Close: %q, %v", got, err)
	}
	unix.Close(fd)
	closeAll(peers)
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors are left, want %d", now, before)
	}
}

// What was open before Open is not kept open by the thread.
func TestOpenKeepsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer openThread(t).Close()
	l.Close()
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
}

// Without room in the table of the thread the descriptors stay where they are.
func TestParkWithoutRoom(t *testing.T) {
	thread := openThread(t)
	defer thread.Close()
	ours, peers := pairs(t, 30)
	defer closeAll(ours)
	defer closeAll(peers)
	withLimit(t, 25, func() {
		if parked, err := thread.Park(ours); len(parked) > 0 || !errors.Is(err, unix.EMFILE) {
			t.Errorf("%d numbers, %v; want EMFILE", len(parked), err)
		}
	})
	if parked, err := thread.Park(ours); len(parked) != len(ours) || err != nil {
		t.Fatalf("with room: %d numbers, %v", len(parked), err)
	}
	for i, fd := range ours {
		write(t, fd, letter(i))
		if got, err := read(peers[i]); got != letter(i) || err != nil {
			t.Errorf("descriptor %d: %q, %v", i, got, err)
		}
	}
}

// Without room in the table of the process the descriptors stay parked, and
// none is lost.
func TestTakeBackWithoutRoom(t *testing.T) {
	thread := openThread(t)
	defer thread.Close()
	ours, peers := pairs(t, 30)
	defer closeAll(peers)
	parked, err := thread.Park(ours)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(ours)
	before := fdtest.Open(t)
	withLimit(t, uint64(before+10), func() {
		if fds, err := thread.TakeBack(parked); len(fds) > 0 || !errors.Is(err, unix.EMFILE) {
			t.Errorf("%d numbers, %v; want EMFILE", len(fds), err)
		}
	})
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors after the failure, %d before", now, before)
	}
	fds, err := thread.TakeBack(parked)
	if len(fds) != len(parked) || err != nil {
		t.Fatalf("with room: %d numbers, %v", len(fds), err)
	}
	defer closeAll(fds)
	for i, fd := range fds {
		write(t, peers[i], letter(i))
		if got, err := read(fd); got != letter(i) || err != nil {
			t.Errorf("descriptor %d: %q, %v", i, got, err)
		}
	}
}

// An earlier call may have left its message in the socket. The next call does
// not take it for its own, and closes its descriptors.
func TestLeftoverMessage(t *testing.T) {
	thread := openThread(t)
	defer thread.Close()
	ours, peers := pairs(t, 4)
	defer closeAll(peers)
	if err := sendFDs(thread.outer, thread.serial, ours[:1]); err != nil {
		t.Fatal(err)
	}
	parked, err := thread.Park(ours[1:2])
	if len(parked) != 1 || err != nil {
		t.Fatalf("%d numbers, %v", len(parked), err)
	}
	unix.Close(ours[0])
	unix.Close(ours[1])
	if got, err := read(peers[0]); got != "" || err != nil {
		t.Errorf("the leftover is still parked: %q, %v", got, err)
	}
	write(t, peers[1], "x")
	var got string
	thread.Do(func() { got, err = read(parked[0]) })
	if got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}

	// The same in the other direction.
	extra, err := thread.Park(ours[2:])
	if err != nil {
		t.Fatal(err)
	}
	closeAll(ours[2:])
	thread.Do(func() {
		err = sendFDs(thread.inner, thread.serial, extra[:1])
		unix.Close(extra[0])
	})
	if err != nil {
		t.Fatal(err)
	}
	fds, err := thread.TakeBack(extra[1:])
	if len(fds) != 1 || err != nil {
		t.Fatalf("%d numbers, %v", len(fds), err)
	}
	defer closeAll(fds)
	if got, err := read(peers[2]); got != "" || err != nil {
		t.Errorf("the leftover is still open: %q, %v", got, err)
	}
	write(t, peers[3], "y")
	if got, err := read(fds[0]); got != "y" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// What cannot be sent is an error, and nothing has moved.
func TestBadDescriptor(t *testing.T) {
	thread := openThread(t)
	defer thread.Close()
	if parked, err := thread.Park([]int{-1}); len(parked) > 0 || !errors.Is(err, unix.EBADF) {
		t.Errorf("Park: %d numbers, %v", len(parked), err)
	}
	if fds, err := thread.TakeBack([]int{-1}); len(fds) > 0 || !errors.Is(err, unix.EBADF) {
		t.Errorf("TakeBack: %d numbers, %v", len(fds), err)
	}
}

// The runtime finds its poller on this thread. It may use the thread to collect
// garbage, to start a timer, and to wake a goroutine that waits for a pipe.
func TestRuntimePoller(t *testing.T) {
	thread := openThread(t)
	defer thread.Close()
	var waiting sync.WaitGroup
	for range 200 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		waiting.Go(func() {
			defer r.Close()
			if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
		parked, err := thread.Park([]int{int(w.Fd())})
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		fired := make(chan struct{})
		thread.Do(func() {
			time.AfterFunc(time.Microsecond, func() { close(fired) })
			unix.Write(parked[0], []byte("x"))
			unix.Close(parked[0])
			runtime.GC()
		})
		<-fired
	}
	waiting.Wait()
}

package attic

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func opened(t *testing.T) *Attic {
	t.Helper()
	a, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pairs makes connected sockets.
func pairs(t *testing.T, n int) (ours, theirs []int) {
	t.Helper()
	for range n {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs = append(ours, pair[0]), append(theirs, pair[1])
	}
	return ours, theirs
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// open counts the descriptors of this process without the attic's.
func open(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// read returns what has come to a socket, "" for its end, and else an error.
func read(fd int) (string, error) {
	buf := make([]byte, 16)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

// What is put there is what it was, is no longer here, and comes to its end
// with the attic.
func TestPut(t *testing.T) {
	const n = 2*atOnce + 7
	before := open(t)
	a := opened(t)
	ours, theirs := pairs(t, n)
	there, err := a.Put(ours)
	if err != nil || len(there) != n {
		t.Fatalf("%d numbers, %v", len(there), err)
	}
	closeAll(ours)
	if now := open(t); now != before+1+n {
		t.Errorf("%d descriptors here, want %d: those before, the entry, and the other ends", now, before+1+n)
	}
	for i, fd := range theirs {
		if _, err := unix.Write(fd, []byte{byte('a' + i%26)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, fd := range there {
		var got string
		a.Do(func() { got, err = read(fd) })
		if got != string(rune('a'+i%26)) || err != nil {
			t.Fatalf("descriptor %d: %q, %v", i, got, err)
		}
	}
	a.Do(func() { unix.Close(there[0]) })
	if got, err := read(theirs[0]); got != "" || err != nil {
		t.Errorf("after it was closed there: %q, %v", got, err)
	}
	a.Close()
	for _, fd := range theirs { // waits for the thread to be gone
		if got, err := read(fd); got != "" || err != nil {
			t.Fatalf("after the attic was closed: %q, %v", got, err)
		}
	}
	closeAll(theirs)
	if now := open(t); now != before {
		t.Errorf("%d descriptors are left, want %d", now, before)
	}
}

// What was open before is not kept open by the attic.
func TestNothingStays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer opened(t).Close()
	l.Close()
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		conn.Close()
		t.Error("it is still listened there")
	}
}

// Without room there the descriptors stay here.
func TestFull(t *testing.T) {
	a := opened(t)
	defer a.Close()
	ours, theirs := pairs(t, 30)
	defer closeAll(ours)
	defer closeAll(theirs)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = 25
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	there, err := a.Put(ours)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if len(there) > 0 || !errors.Is(err, unix.EMFILE) {
		t.Fatalf("%d numbers, %v", len(there), err)
	}
	if there, err = a.Put(ours); len(there) != len(ours) || err != nil {
		t.Fatalf("with room: %d numbers, %v", len(there), err)
	}
	for i, fd := range ours {
		if _, err := unix.Write(fd, []byte{byte('a' + i%26)}); err != nil {
			t.Fatal(err)
		}
		if got, err := read(theirs[i]); got != string(rune('a'+i%26)) || err != nil {
			t.Errorf("descriptor %d: %q, %v", i, got, err)
		}
	}
}

// What could not be received at its time is not taken for what comes after it.
func TestLate(t *testing.T) {
	a := opened(t)
	defer a.Close()
	ours, theirs := pairs(t, 2)
	defer closeAll(theirs)
	if err := unix.Sendmsg(a.entry, []byte{a.sent}, unix.UnixRights(ours[0]), nil, 0); err != nil {
		t.Fatal(err)
	}
	there, err := a.Put(ours[1:])
	if len(there) != 1 || err != nil {
		t.Fatalf("%d numbers, %v", len(there), err)
	}
	closeAll(ours)
	if got, err := read(theirs[0]); got != "" || err != nil {
		t.Errorf("the late one is still there: %q, %v", got, err)
	}
	if _, err := unix.Write(theirs[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	var got string
	a.Do(func() { got, err = read(there[0]) })
	if got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// The runtime finds its poller there, whatever it uses the thread for: to
// collect garbage, and to wake who waits for a timer or a connection.
func TestRuntimeIsAtHome(t *testing.T) {
	a := opened(t)
	defer a.Close()
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
		fd := int(w.Fd())
		there, err := a.Put([]int{fd})
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		fired := make(chan struct{})
		a.Do(func() {
			time.AfterFunc(time.Microsecond, func() { close(fired) })
			unix.Write(there[0], []byte("x"))
			unix.Close(there[0])
			runtime.GC()
		})
		<-fired
	}
	waiting.Wait()
}

package epoll

import (
	"errors"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSet(t *testing.T) *Set {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// pipe returns a descriptor to read from and one to write to.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func put(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

// Wait waits, and says so; what is there already it reports at once.
func TestWait(t *testing.T) {
	s := newSet(t)
	r, w := pipe(t)
	if err := s.Add(r, unix.EPOLLIN, 7); err != nil {
		t.Fatal(err)
	}
	events := make([]unix.EpollEvent, 4)
	type result struct {
		n      int
		waited bool
		err    error
	}
	waiting := make(chan result)
	go func() {
		n, waited, err := s.Wait(events)
		waiting <- result{n, waited, err}
	}()
	select {
	case r := <-waiting:
		t.Fatalf("there is nothing: %+v", r)
	case <-time.After(10 * time.Millisecond):
	}
	put(t, w)
	if r := <-waiting; r != (result{1, true, nil}) || events[0].Fd != 7 || events[0].Events != unix.EPOLLIN {
		t.Errorf("%+v, %+v", r, events[0])
	}
	if n, waited, err := s.Wait(events); n != 1 || waited || err != nil {
		t.Errorf("%d, %v, %v", n, waited, err)
	}
	if err := s.Remove(r); err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, _, err := s.Wait(events); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
}

// With memory for one event, descriptors that always have one are reported in turn.
func TestTurns(t *testing.T) {
	s := newSet(t)
	const n = 5
	for key := range int32(n) {
		r, w := pipe(t)
		if err := s.Add(r, unix.EPOLLIN, key); err != nil {
			t.Fatal(err)
		}
		put(t, w)
	}
	var counts [n]int
	events := make([]unix.EpollEvent, 1)
	for range 3 * n {
		if _, _, err := s.Wait(events); err != nil {
			t.Fatal(err)
		}
		counts[events[0].Fd]++
	}
	if counts != [n]int{3, 3, 3, 3, 3} {
		t.Errorf("%v", counts)
	}
}

// Close ends a Wait, and makes everything else fail.
func TestClose(t *testing.T) {
	s := newSet(t)
	r, _ := pipe(t)
	failed := make(chan error)
	go func() {
		_, _, err := s.Wait(make([]unix.EpollEvent, 1))
		failed <- err
	}()
	s.Close()
	if err := <-failed; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	if err := s.Add(r, unix.EPOLLIN, 0); err == nil {
		t.Error("added to a closed set")
	}
	if err := s.Remove(r); err == nil {
		t.Error("removed from a closed set")
	}
}

// A descriptor that cannot be waited for is an error and not a silence.
func TestAddError(t *testing.T) {
	s := newSet(t)
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.Add(int(file.Fd()), unix.EPOLLIN, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("%v", err)
	}
}

// Waiting allocates nothing.
func TestAllocations(t *testing.T) {
	s := newSet(t)
	r, w := pipe(t)
	if err := s.Add(r, unix.EPOLLIN, 0); err != nil {
		t.Fatal(err)
	}
	put(t, w)
	events := make([]unix.EpollEvent, 1)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := s.Wait(events); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

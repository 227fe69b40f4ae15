package spawner

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

func testLimiter(t *testing.T, stopping chan struct{}) (*limiter, chan Stall, chan Stall) {
	began, over := make(chan Stall, 10), make(chan Stall, 10)
	l := newLimiter(2, stopping, func(s Stall, isOver bool) {
		if isOver {
			over <- s
		} else {
			began <- s
		}
	})
	t.Cleanup(l.close)
	return l, began, over
}

func mustBegin(t *testing.T, l *limiter, path string) start {
	t.Helper()
	s, err := l.begin(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begins reports over the channel when a start begins.
func begins(l *limiter, path string) <-chan start {
	begun := make(chan start, 1)
	go func() {
		if s, err := l.begin(path); err == nil {
			begun <- s
		}
	}()
	return begun
}

func receive[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(slowtest.Scale(time.Minute)):
		t.Fatalf("no %s", what)
	}
	return v
}

// Programs that hang hold their own share. All others are started.
func TestProgramsThatHang(t *testing.T) {
	l, _, _ := testLimiter(t, nil)
	var hanging []start
	var waiting []<-chan start
	for _, path := range []string{"/net/a", "/net/b", "/net/c"} {
		for range 2 {
			hanging = append(hanging, mustBegin(t, l, path))
		}
		for range 5 {
			waiting = append(waiting, begins(l, path))
		}
	}
	for range 100 {
		a, b := mustBegin(t, l, "/bin/x"), mustBegin(t, l, "/bin/y")
		l.end(a)
		l.end(b)
	}
	for _, w := range waiting {
		select {
		case <-w:
			t.Fatal("a start has begun beyond the share of its program")
		default:
		}
	}
	for _, s := range hanging {
		l.end(s)
	}
	var done sync.WaitGroup
	for _, w := range waiting { // in whichever order they begin
		done.Go(func() { l.end(<-w) })
	}
	ended := make(chan struct{})
	go func() { done.Wait(); close(ended) }()
	receive(t, ended, "start after those that hung")
	if len(l.total) > 0 {
		t.Errorf("%d starts are in progress", len(l.total))
	}
	for path, p := range l.programs {
		if p.users != 0 || len(p.total) > 0 || p.stall().Starts > 0 {
			t.Errorf("%s: %+v", path, p)
		}
	}
}

// All starts together have a bound, too.
func TestAllStarts(t *testing.T) {
	l, _, _ := testLimiter(t, nil)
	var starts []start
	for i := range cap(l.total) {
		starts = append(starts, mustBegin(t, l, string(rune('a'+i))))
	}
	one := begins(l, "another")
	select {
	case <-one:
		t.Fatal("one start more than all has begun")
	case <-time.After(10 * time.Millisecond):
	}
	l.end(starts[0])
	l.end(receive(t, one, "start"))
}

// A start that hangs is told once, and once more when it does not any more.
func TestStall(t *testing.T) {
	l, began, over := testLimiter(t, nil)
	l.stallAfter = 0
	for range 2 {
		s := mustBegin(t, l, "/net/x")
		if stall := receive(t, began, "report of a stall"); stall.Program != "/net/x" || stall.Starts != 1 || stall.Since.IsZero() {
			t.Errorf("%+v", stall)
		}
		if found := l.stalled(); len(found) != 1 || found[0].Program != "/net/x" {
			t.Errorf("%+v", found)
		}
		l.watch() // as often as it likes
		l.end(s)
		receive(t, over, "report of the end of a stall")
		if found := l.stalled(); len(found) > 0 {
			t.Errorf("%+v", found)
		}
	}
	if len(began)+len(over) > 0 {
		t.Errorf("%d reports too many", len(began)+len(over))
	}
	// Nobody watches a limiter without starts.
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		watching := l.watching
		l.mu.Unlock()
		if !watching {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the timer runs on")
		}
	}
}

// A quick start is no stall.
func TestNoStall(t *testing.T) {
	l, began, _ := testLimiter(t, nil)
	s := mustBegin(t, l, "/bin/x")
	l.watch()
	l.end(s)
	l.watch()
	if len(began) > 0 || len(l.stalled()) > 0 {
		t.Errorf("%d reports, stalled: %v", len(began), l.stalled())
	}
}

// What waits behind starts that hang is given up when the master stops.
func TestStopWhileOthersHang(t *testing.T) {
	stopping := make(chan struct{})
	l, _, _ := testLimiter(t, stopping)
	for range 2 {
		mustBegin(t, l, "/net/x")
	}
	failed := make(chan error, 1)
	go func() {
		_, err := l.begin("/net/x")
		failed <- err
	}()
	close(stopping)
	if err := receive(t, failed, "error"); !errors.Is(err, ErrStalled) {
		t.Errorf("%v", err)
	}
	l.end(mustBegin(t, l, "/bin/y")) // where there is room, a start begins still
}

// Paths that come and go, as reloads make them, are forgotten.
func TestManyPrograms(t *testing.T) {
	l, _, _ := testLimiter(t, nil)
	held := mustBegin(t, l, "held")
	for i := range 10 * maxIdlePrograms {
		l.end(mustBegin(t, l, time.Duration(i).String()))
	}
	if len(l.programs) > maxIdlePrograms {
		t.Errorf("%d programs are remembered", len(l.programs))
	}
	if l.programs["held"] == nil {
		t.Error("one that is in progress was forgotten")
	}
	l.end(held)
}

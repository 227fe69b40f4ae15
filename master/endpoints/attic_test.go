package endpoints

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/master/listen"
)

// atPorts configures n services, each with a TCP port of its own.
func atPorts(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['127.0.0.1:0']\n%s", i, cat)
	}
	return text.String()
}

// highest returns the highest number of a descriptor of this process.
func highest(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for n := 4096; n > fd; n-- {
		if _, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err == nil {
			return n
		}
	}
	return fd
}

// openNow returns how many descriptors there are, among them those that stay from the
// first connection and the first Spec on.
func openNow(t *testing.T) int {
	t.Helper()
	specs(t, atPorts(1))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return fdtest.Open(t)
}

// shelved puts services in force as the master does.
func shelved(t *testing.T, s *Set, text string) {
	t.Helper()
	_, closed := commit(t, s, specs(t, text))
	s.Retire(closed)
	s.Store(s.All())
	s.Shelve()
}

// The sockets of many listeners leave the table of descriptors, those of few do not, and
// all of them listen. That is so whatever a reload makes of their number.
func TestShelve(t *testing.T) {
	s, _ := newSet(t, false)
	before := openNow(t)
	const few = 10
	var all []*Listener
	for _, step := range []struct{ listeners, open, atMost int }{
		{manyListeners - 1, manyListeners - 1, manyListeners - 1},
		{manyListeners, 0, 3},
		{few, 0, 3}, // those that are left stay where they are
		{manyListeners + 50, 0, 3},
		{manyListeners + 51, 0, 3},
	} {
		shelved(t, s, atPorts(step.listeners))
		if n := fdtest.Open(t) - before; n < step.open || n > step.atMost {
			t.Errorf("%d listeners: %d descriptors, want %d to %d", step.listeners, n, step.open, step.atMost)
		}
		kept := map[*Listener]bool{}
		for _, l := range s.All() {
			kept[l] = true
			if err := dial(l); err != nil {
				t.Errorf("%d listeners: %v", step.listeners, err)
			}
		}
		if len(kept) != step.listeners {
			t.Errorf("%d listeners, want %d", len(kept), step.listeners)
		}
		for _, l := range all {
			if !kept[l] && dial(l) == nil {
				t.Errorf("%d listeners: one that was removed listens", step.listeners)
			}
		}
		all = s.All()
	}
	s.CloseAll()
	for _, l := range all {
		<-l.Closed()
		if dial(l) == nil {
			t.Error("a listener is left")
		}
	}
	s.Shelve() // which has nothing to do any more
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors are left, want %d", now, before)
	}
}

// What is opened after many listeners has a low number: a spawn copies the table up to
// the highest one.
func TestShelveLeavesNoHighNumber(t *testing.T) {
	s, _ := newSet(t, false)
	before := highest(t)
	commit(t, s, specs(t, atPorts(before+manyListeners)))
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	s.Shelve()
	if now := highest(t); now > before+lowNumbers {
		t.Errorf("the highest number is %d, and was %d before", now, before)
	}
}

// A listener in the attic whose address another service takes, in another form, is
// replaced: at no moment does nobody listen.
func TestShelvedListenerIsReplaced(t *testing.T) {
	s, m := newSet(t, true)
	text := atPorts(manyListeners)
	shelved(t, s, text)
	old := s.Of("s7")[0]
	_, port, _ := strings.Cut(old.Local(), ":")
	text = strings.Replace(text, "[service.s7]\nlisten = ['127.0.0.1:0']", "[service.s7]\nlisten = [':"+port+"']", 1)
	_, closed := commit(t, s, specs(t, text))
	if len(closed) != 1 || closed[0] != old {
		t.Fatalf("%d are closed", len(closed))
	}
	stored := len(m.told)
	s.Retire(closed)
	s.Store(s.All())
	s.Shelve()
	if err := dial(s.Of("s7")[0]); err != nil {
		t.Error(err)
	}
	if told := m.told[stored:]; len(told) != 2 || !strings.HasPrefix(told[0], "remove ") || !strings.HasPrefix(told[1], "store ") {
		t.Errorf("the manager was told %q", told)
	}
	// The manager gets it as it gets any other.
	s.Of("s8")[0].stored = false
	if s.Store(s.All()); !s.Of("s8")[0].stored {
		t.Error("a listener in the attic is not stored")
	}
	if _, closed := s.Check(old.replaced.Add(settleTime)); len(closed) != 0 || len(s.replaced) != 0 {
		t.Errorf("%d are closed, and %d are left of those replaced", len(closed), len(s.replaced))
	}
}

// Without a thread for them, listeners stay and the log says so once. With one, they move
// later, and the log tells of the next failure.
func TestShelveWithoutThread(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	s := NewSet(&fakeManager{}, false, zap.New(core))
	t.Cleanup(s.Discard)
	s.attic.open = func() (*listen.Attic, error) { return nil, errors.New("no thread") }
	before := openNow(t)
	commit(t, s, specs(t, atPorts(manyListeners)))
	s.Shelve()
	s.Shelve()
	if n := fdtest.Open(t) - before; n != manyListeners {
		t.Errorf("%d descriptors, want %d", n, manyListeners)
	}
	if err := dial(s.All()[0]); err != nil {
		t.Error(err)
	}
	told := logs.FilterMessage("listeners stay where every spawn has to copy them").All()
	if len(told) != 1 || told[0].ContextMap()["error"] != "no thread" {
		t.Errorf("the log says %v, want it once", told)
	}
	s.attic.open = listen.OpenAttic
	s.Shelve()
	if n := fdtest.Open(t) - before; n > 3 {
		t.Errorf("%d descriptors are left", n)
	}
	if s.attic.failed || logs.Len() != 1 {
		t.Errorf("failed %v, %d lines in the log", s.attic.failed, logs.Len())
	}
}

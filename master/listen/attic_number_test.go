package listen

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
)

// nextNumbers returns the numbers that the next descriptors get in the table of the
// process and in that of the attic's thread.
func (at *atticTest) nextNumbers() (here, there int) {
	at.t.Helper()
	next := func() int {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			at.t.Fatal(err)
		}
		unix.Close(fd)
		return fd
	}
	at.attic.thread.Do(func() { there = next() })
	return next(), there
}

// alignNumbers takes numbers until the next descriptor has the same one in both tables.
func (at *atticTest) alignNumbers() {
	at.t.Helper()
	for {
		here, there := at.nextNumbers()
		switch {
		case here == there:
			return
		case here < there:
			fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				at.t.Fatal(err)
			}
			at.t.Cleanup(func() { unix.Close(fd) })
		default:
			at.attic.thread.Do(func() { _, _ = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0) })
		}
	}
}

// A listener that gets the number on the thread that it has here is in the set already:
// the kernel tells those in a set apart by their open files and their numbers.
func TestAtticSameNumber(t *testing.T) {
	at := newAtticTest(t, 0)
	at.listeners = []*Listener{listenAt(t, "127.0.0.1:0")}
	at.watch(at.listeners...)
	at.store() // the set has a number now
	at.alignNumbers()
	l := listenAt(t, "127.0.0.1:0")
	at.listeners = append(at.listeners, l)
	at.watch(l)
	before := fdtest.Open(t)
	at.store()
	if now := fdtest.Open(t); now != before-1 {
		t.Errorf("%d descriptors, want %d", now, before-1)
	}
	at.serve(l)
	l.Unwatch()
	dial(t, l)
	at.silent()
	at.watch(l)
	at.ready(1)
	l.Close()
	at.silent()
}

// The same for a copy, which is not in the way of others for that.
func TestAtticCopyOfSameNumber(t *testing.T) {
	at := newAtticTest(t, 2*maxLent)
	at.store()
	at.serve(at.listeners[0]) // the handle of the thread has a number now
	at.alignNumbers()
	l := listenAt(t, "127.0.0.1:0")
	at.listeners = append(at.listeners, l)
	at.store()
	lent := func(l *Listener) {
		t.Helper()
		if err := l.Descriptor(func(int) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	lent(l)
	if l.descriptor.lent != l.descriptor.fd {
		t.Fatalf("the copy is %d, and the socket %d", l.descriptor.lent, l.descriptor.fd)
	}
	at.watch(l)
	for _, other := range at.listeners[1 : maxLent+1] {
		lent(other)
	}
	if l.descriptor.lent != 0 || len(at.attic.lent) > maxLent {
		t.Errorf("copy %d stays, of %d", l.descriptor.lent, len(at.attic.lent))
	}
	at.serve(l)
	l.Unwatch()
	dial(t, l)
	at.silent()
}

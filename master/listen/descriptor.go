package listen

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
)

// A Controller has a descriptor, as a syscall.RawConn has.
type Controller interface {
	// Control calls f with the descriptor, which f must not keep, unless it is closed. f
	// makes system calls on the descriptor that do not wait, and uses no other one: it may
	// run on a thread with other descriptors.
	Control(f func(fd uintptr)) error
}

// A descriptor is that of a listening socket. Unlike an os.File it is not watched by
// Go's poller, which would take a goroutine for each listener.
type descriptor struct {
	// mu is held for reading by those who use the descriptor, so that it is really
	// closed when close returns. It guards what follows.
	mu     sync.RWMutex
	fd     int    // with an attic, a number on the thread of that
	attic  *Attic // where the socket is; nil: in the table of the process
	closed bool

	set *epoll.Set // that reports key while a connection waits; nil: none does
	key int32

	// With an attic.

	parkedSet epoll.FD // the set on the thread
	lent      int      // a copy in the table of the process, 0 for none; lend changes it, too
	copied    int      // another one, which goes over to a program that takes over (copyHere)
	byCopy    bool     // it is the copy that is in the set
}

// Control calls f with the descriptor, or returns ErrClosed. f is that of a Controller.
func (d *descriptor) Control(f func(fd uintptr)) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.closed:
		return ErrClosed
	case d.attic != nil:
		d.attic.thread.Use(d.fd, func(fd int) { f(uintptr(fd)) })
	default:
		f(uintptr(d.fd))
	}
	return nil
}

// acquire returns the descriptor, or a copy of it, in the table of the process. The
// caller calls release, unless there is an error: ErrClosed, or one of a socket in an
// attic for which there is no room.
func (d *descriptor) acquire() (fd int, err error) {
	d.mu.RLock()
	switch {
	case d.closed:
		err = ErrClosed
	case d.attic != nil:
		fd, err = d.attic.lend(d)
	default:
		fd = d.fd
	}
	if err != nil {
		d.mu.RUnlock()
		return -1, err
	}
	return fd, nil
}

// release ends what acquire began.
func (d *descriptor) release() {
	if d.attic != nil {
		d.attic.giveBack()
	}
	d.mu.RUnlock()
}

// moved makes it a descriptor whose socket is in an attic under another number, and is
// in the same set there. The lock is held.
func (d *descriptor) moved(to *Attic, fd int) {
	d.leaveSetFor(fd)
	unix.Close(d.fd)
	d.attic, d.fd = to, fd
}

// watch has a set report a key while a connection waits, until unwatch or close.
func (d *descriptor) watch(set *epoll.Set, key int32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.set != nil {
		return nil
	}
	d.set, d.key = set, key
	err := d.joinSet()
	if err != nil {
		d.set = nil
	}
	return err
}

// joinSet puts the descriptor into its set: its copy, if there is one, because that
// takes no call to the thread. The lock is held.
func (d *descriptor) joinSet() (err error) {
	if d.attic == nil {
		return d.set.Add(d.fd, unix.EPOLLIN, d.key)
	}
	if d.parkedSet, err = d.attic.setOf(d); err != nil {
		return err
	}
	if d.byCopy = d.lent > 0; d.byCopy {
		return d.set.Add(d.lent, unix.EPOLLIN, d.key)
	}
	d.attic.thread.Do(func() { err = d.parkedSet.Add(d.fd, unix.EPOLLIN, d.key) })
	return err
}

// joinParkedSet has its set, if it is in one by a number in the table of the process,
// report the number fd that the socket has on the thread of an attic. The two may be the
// same. Then it is in the set by both: the kernel tells those there apart by their open
// files and their numbers, and knows of no tables. It is called on the thread, leaveSetFor
// comes next, and the lock is held.
func (d *descriptor) joinParkedSet(fd int) error {
	if d.set == nil || fd == d.numberHere() {
		return nil
	}
	return d.parkedSet.Add(fd, unix.EPOLLIN, d.key)
}

// unwatch ends what watch began.
func (d *descriptor) unwatch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isSetOnThread() {
		d.attic.thread.Do(d.leaveParkedSet)
	} else {
		d.leaveSet()
	}
	d.set = nil
}

// isSetOnThread reports whether the descriptor is in a set as one of the thread of an
// attic. The lock is held.
func (d *descriptor) isSetOnThread() bool { return d.set != nil && d.attic != nil && !d.byCopy }

// leaveSet takes the descriptor, or its copy, out of its set. Closing it would not,
// should anybody else hold the socket. The lock is held.
func (d *descriptor) leaveSet() {
	if d.set != nil {
		_ = d.set.Remove(d.numberHere()) // the set may be closed
	}
}

// numberHere returns the number in the table of the process by which the descriptor is
// in its set. The lock is held.
func (d *descriptor) numberHere() int {
	if d.byCopy {
		return d.lent
	}
	return d.fd
}

// leaveSetFor leaves the set to the number fd of the same socket on the thread of an
// attic, which is in it (joinParkedSet). The lock is held.
func (d *descriptor) leaveSetFor(fd int) {
	if d.numberHere() != fd {
		d.leaveSet()
	}
}

// leaveParkedSet does it on the thread of the attic. The lock is held.
func (d *descriptor) leaveParkedSet() { _ = d.parkedSet.Remove(d.fd) }

// isClosed reports whether close was called.
func (d *descriptor) isClosed() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.closed
}

func (d *descriptor) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.closed = true
	if d.attic != nil {
		d.attic.discard(d)
		return nil
	}
	d.leaveSet()
	d.set = nil
	return unix.Close(d.fd)
}

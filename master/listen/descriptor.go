package listen

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
)

// A Controller has a descriptor, as a syscall.RawConn has.
type Controller interface {
	// Control calls f with the descriptor, which f must not keep, unless it is closed.
	Control(f func(fd uintptr)) error
}

// A descriptor is that of a listening socket. Unlike an os.File it is not watched by
// Go's poller, which would take a goroutine for each listener.
type descriptor struct {
	// mu is held for reading by those who use the descriptor, so that it is really
	// closed when close returns.
	mu     sync.RWMutex
	fd     int
	closed bool
	set    *epoll.Set // that reports key while a connection waits; nil: none does
	key    int32
}

// Control calls f with the descriptor, or returns ErrClosed.
func (d *descriptor) Control(f func(fd uintptr)) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return ErrClosed
	}
	f(uintptr(d.fd))
	return nil
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
	if err := set.Add(d.fd, unix.EPOLLIN, key); err != nil {
		return err
	}
	d.set, d.key = set, key
	return nil
}

// unwatch ends what watch began.
func (d *descriptor) unwatch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaveSet()
}

// leaveSet takes the descriptor out of its set. Closing it would not, should anybody
// else hold the socket. The lock is held.
func (d *descriptor) leaveSet() {
	if d.set != nil {
		_ = d.set.Remove(d.fd) // the set may be closed
		d.set = nil
	}
}

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
	d.leaveSet()
	d.closed = true
	return unix.Close(d.fd)
}

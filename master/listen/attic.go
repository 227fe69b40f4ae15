package listen

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/fdpark"
)

// An Attic keeps the sockets of listeners that are too many for the table of
// descriptors which every spawn copies. They are in the table of a thread of their
// own (package fdpark). There they are watched as they were before. A listener that
// a connection has come to gets a copy of its socket in the table of the process,
// to accept from.
//
// Its methods may be called by several goroutines at once. The lock of a descriptor
// is taken before that of the attic.
type Attic struct {
	thread *fdpark.Thread

	mu   sync.Mutex              // guards what follows
	sets map[*epoll.Set]epoll.FD // on the thread
	lent []*descriptor           // those that have a copy, the one that was used last at the end
}

const (
	// batchSize is how many sockets move, or are closed, at once. Nobody can accept
	// from them meanwhile.
	batchSize = 200
	// maxLent is how many copies stay for the next connection. More than that are
	// there only while they are used.
	maxLent = 64
)

// OpenAttic returns an empty attic. The error says why there cannot be one. The
// caller must call Close.
func OpenAttic() (*Attic, error) {
	thread, err := fdpark.Open()
	if err != nil {
		return nil, err
	}
	return &Attic{thread: thread, sets: map[*epoll.Set]epoll.FD{}}, nil
}

// Close ends the attic, whose listeners must be closed.
func (a *Attic) Close() { a.thread.Close() }

// Store moves the sockets of TCP listeners here. It leaves alone those of unix
// sockets, those that are here already, and those that are closed. On error some
// have moved, and the rest works as before.
//
// A unix socket stays where it is. Its directory would stay in any case, and it is
// closed in a certain order with its file.
func (a *Attic) Store(listeners []*Listener) error {
	for batch := range slices.Chunk(listeners, batchSize) {
		if err := a.storeBatch(batch); err != nil {
			return fmt.Errorf("move listening sockets: %w", err)
		}
	}
	return nil
}

func (a *Attic) storeBatch(batch []*Listener) error {
	defer lock(batch)()
	var moving []*descriptor
	var fds []int
	for _, l := range batch {
		d := &l.descriptor
		if l.path != "" || d.closed || d.attic != nil {
			continue
		}
		if d.set != nil {
			set, err := a.setOf(d)
			if err != nil {
				return err
			}
			d.parkedSet = set
		}
		moving, fds = append(moving, d), append(fds, d.fd)
	}
	if len(moving) == 0 {
		return nil
	}
	parked, err := a.thread.Park(fds)
	// Each is watched here before it is not watched there any more. So no
	// connection is missed, and at worst one is reported twice.
	stored := make([]bool, len(parked))
	a.thread.Do(func() {
		for i, fd := range parked {
			joined := moving[i].joinParkedSet(fd)
			if stored[i] = joined == nil; !stored[i] {
				unix.Close(fd)
				err = errors.Join(err, joined)
			}
		}
	})
	for i, fd := range parked {
		if stored[i] {
			moving[i].moved(a, fd)
		}
	}
	return err
}

// setOf returns the thread's descriptor of the set that a descriptor is in, which is
// there until Close.
func (a *Attic) setOf(d *descriptor) (set epoll.FD, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set, found := a.sets[d.set]
	if found {
		return set, nil
	}
	err = d.set.Descriptor(func(fd int) error {
		parked, err := a.thread.Park([]int{fd})
		if err == nil {
			set = epoll.FD(parked[0])
			a.sets[d.set] = set
		}
		return err
	})
	return set, err
}

// CloseListeners closes those listeners that are here. That takes a call to the
// thread for some hundred of them, where Close takes one for each. A later Close
// returns ErrClosed. It leaves the others alone.
func (a *Attic) CloseListeners(listeners []*Listener) {
	for batch := range slices.Chunk(listeners, batchSize) {
		a.closeBatch(batch)
	}
}

func (a *Attic) closeBatch(batch []*Listener) {
	defer lock(batch)()
	var closing []*descriptor
	for _, l := range batch {
		d := &l.descriptor
		if d.attic == a && !d.closed {
			d.closed = true
			closing = append(closing, d)
		}
	}
	a.discard(closing...)
}

// lock locks the descriptors of listeners until unlock is called.
func lock(listeners []*Listener) (unlock func()) {
	for _, l := range listeners {
		l.descriptor.mu.Lock()
	}
	return func() {
		for _, l := range listeners {
			l.descriptor.mu.Unlock()
		}
	}
}

// discard closes the sockets of descriptors that are here, with their copies. The
// descriptors are locked.
func (a *Attic) discard(descriptors ...*descriptor) {
	if len(descriptors) == 0 {
		return
	}
	a.thread.Do(func() {
		for _, d := range descriptors {
			if d.isSetOnThread() {
				d.leaveParkedSet()
			}
			unix.Close(d.fd)
		}
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range descriptors {
		if i := slices.Index(a.lent, d); i >= 0 {
			if d.byCopy {
				d.leaveSet()
			}
			a.endLoan(i)
		}
		d.set = nil
	}
}

// lend returns a copy of a descriptor's socket in the table of the process, which is
// valid until giveBack. The descriptor is locked for reading.
func (a *Attic) lend(d *descriptor) (fd int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.lent, d); i >= 0 {
		a.lent = slices.Delete(a.lent, i, i+1)
	} else if fd, err = a.thread.Lend(d.fd); err != nil {
		return -1, err
	} else {
		d.lent = fd
	}
	a.lent = append(a.lent, d)
	return d.lent, nil
}

// giveBack ends a use of what lend has returned. The copy may stay for the next one.
func (a *Attic) giveBack() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 0; i < len(a.lent) && len(a.lent) > maxLent; {
		// Nobody waits here for one that is in use: there is another one.
		d := a.lent[i]
		if !d.mu.TryLock() {
			i++
			continue
		}
		if a.watchHere(d) == nil {
			a.endLoan(i)
		} else {
			i++
		}
		d.mu.Unlock()
	}
}

// watchHere has a descriptor watched as one of the thread whose copy is watched. Both
// locks are held.
func (a *Attic) watchHere(d *descriptor) (err error) {
	if d.set == nil || !d.byCopy {
		return nil
	}
	a.thread.Do(func() { err = d.joinParkedSet(d.fd) })
	if err == nil {
		d.leaveSetFor(d.fd)
		d.byCopy = false
	}
	return err
}

// endLoan closes the copy of one of those that have one, which nobody uses and which
// is in no set. Both locks are held.
func (a *Attic) endLoan(i int) {
	unix.Close(a.lent[i].lent)
	a.lent[i].lent = 0
	a.lent = slices.Delete(a.lent, i, i+1)
}

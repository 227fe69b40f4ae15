package fdpark

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// A Thread is an operating-system thread with a descriptor table of its own.
// Its methods may be called by several goroutines at once.
type Thread struct {
	mu     sync.Mutex // held by every method; guards what follows
	thread *osthread.Thread
	outer  int  // end of the socket pair in the table of the process
	inner  int  // end of the socket pair in the table of the thread
	serial byte // content of the last message, which tells it from earlier ones
	handle int  // of the thread; 0 until it is needed
}

// noHandle stands for a handle that cannot be had.
const noHandle = -1

// Open starts a thread with an empty table. The error says what the system
// does not allow. The caller must call Close.
func Open() (*Thread, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1]) // the table of the thread has a copy
	t := &Thread{outer: pair[0], inner: pair[1]}
	keep, err := runtimeFDs()
	if err == nil {
		t.thread, err = osthread.Start(func() error {
			if err := unix.Unshare(unix.CLONE_FILES); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			return closeAllBut(append(keep, t.inner))
		})
	}
	if err != nil {
		unix.Close(t.outer)
		return nil, err
	}
	return t, nil
}

// runtimeFDs returns the descriptors that Go's runtime may use on any thread:
// its poller, and the descriptor that wakes the poller. A thread with a table
// of its own must find the same files behind these numbers.
func runtimeFDs() ([]int, error) {
	// The runtime opens its poller once, when a pipe or socket first needs it.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.Close()
	w.Close()
	paths, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	var fds []int
	found := map[string]bool{}
	for _, path := range paths {
		kind, err := os.Readlink(path)
		if err != nil || kind != "anon_inode:[eventpoll]" && kind != "anon_inode:[eventfd]" {
			continue
		}
		fd, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
		found[kind] = true
	}
	if len(found) != 2 {
		return nil, fmt.Errorf("the runtime's poller is not among the %d descriptors in /proc/self/fd", len(paths))
	}
	return fds, nil
}

// closeAllBut closes every descriptor in the table of the calling thread,
// except standard input, output and error, and those in keep.
func closeAllBut(keep []int) error {
	slices.Sort(keep)
	from := 3
	for _, fd := range append(keep, 1<<31-1) {
		if fd > from {
			if err := unix.CloseRange(uint(from), uint(fd-1), 0); err != nil {
				return os.NewSyscallError("close_range", err)
			}
		}
		from = fd + 1
	}
	return nil
}

// Do runs f where the numbers of parked descriptors are valid. f should make a
// few system calls that do not wait. It must not use package os or net, whose
// descriptors are not there, and it must not call a method of the same Thread.
func (t *Thread) Do(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thread.Do(f)
}

// Park copies descriptors into the table of the thread and returns their
// numbers there, in the same order. The caller still owns its own descriptors,
// and usually closes them. On error the descriptors that are returned are
// parked, and the rest is not.
func (t *Thread) Park(fds []int) (parked []int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for chunk := range slices.Chunk(fds, MaxTogether) {
		t.serial++
		if err := sendFDs(t.outer, t.serial, chunk); err != nil {
			return parked, err
		}
		var received []int
		t.thread.Do(func() { received, err = receiveFDs(t.inner, t.serial, len(chunk)) })
		if err != nil {
			return parked, err
		}
		parked = append(parked, received...)
	}
	return parked, nil
}

// Lend copies a parked descriptor into the table of the process and returns its
// number there. The caller owns the copy, which has FD_CLOEXEC. The other one
// stays parked.
func (t *Thread) Lend(parked int) (fd int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fd, ok := t.copyByHandle(parked); ok {
		return fd, nil
	}
	fds, err := t.copyBack([]int{parked})
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// Use calls f with a parked descriptor, or with a copy of it elsewhere if that is
// quicker. f may do what it may do inside Do.
func (t *Thread) Use(parked int, f func(fd int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fd, ok := t.copyByHandle(parked); ok {
		defer unix.Close(fd)
		f(fd)
		return
	}
	t.thread.Do(func() { f(parked) })
}

// copyByHandle copies a parked descriptor into the table of the process, or returns
// false. It takes a few microseconds, and any call to the thread ten times as long.
// The lock is held.
func (t *Thread) copyByHandle(parked int) (fd int, ok bool) {
	if t.handle == 0 {
		t.handle = t.openHandle()
	}
	if t.handle == noHandle {
		return -1, false
	}
	fd, err := unix.PidfdGetfd(t.handle, parked, 0)
	return fd, err == nil
}

// openHandle returns a descriptor that stands for the thread (pidfd_open(2)), or
// noHandle. Before Linux 6.9 only processes have one. A filter of system calls may
// also refuse it, or its use.
func (t *Thread) openHandle() int {
	var tid int
	t.thread.Do(func() { tid = unix.Gettid() })
	handle, err := unix.PidfdOpen(tid, unix.PIDFD_THREAD)
	if err != nil {
		return noHandle
	}
	return handle
}

// TakeBack moves parked descriptors into the table of the process and returns
// their numbers there, in the same order. The caller then owns them; they have
// FD_CLOEXEC. On error the descriptors that are returned have moved, and the
// rest is still parked.
func (t *Thread) TakeBack(parked []int) (fds []int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for chunk := range slices.Chunk(parked, MaxTogether) {
		received, err := t.copyBack(chunk)
		if err != nil {
			return fds, err
		}
		t.thread.Do(func() {
			for _, fd := range chunk {
				unix.Close(fd)
			}
		})
		fds = append(fds, received...)
	}
	return fds, nil
}

// copyBack copies at most MaxTogether parked descriptors into the table of the
// process: all or, on error, none. The lock is held.
func (t *Thread) copyBack(parked []int) (fds []int, err error) {
	t.serial++
	t.thread.Do(func() { err = sendFDs(t.inner, t.serial, parked) })
	if err != nil {
		return nil, err
	}
	return receiveFDs(t.outer, t.serial, len(parked))
}

// Close ends the thread, and so closes every descriptor that is parked. The
// Thread must not be used after Close.
func (t *Thread) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thread.Close()
	unix.Close(t.outer)
	if t.handle > 0 {
		unix.Close(t.handle)
	}
}

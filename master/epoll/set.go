package epoll

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Set is descriptors that somebody waits for. One goroutine at a time calls Wait; any
// may call the other methods.
type Set struct {
	file *os.File // the epoll descriptor
	raw  syscall.RawConn

	// Wait owns what follows.

	look   func(uintptr) bool // poll; made once, because a method value is an allocation
	events []unix.EpollEvent
	found  int
	err    error
	waited bool
}

// New returns an empty set. The caller must call Close.
func New() (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// os.File gives a descriptor to Go's poller only if it is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &Set{file: os.NewFile(uintptr(fd), "epoll")}
	if err := CheckPolled(s.file); err != nil {
		s.file.Close()
		return nil, err
	}
	s.look = s.poll
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// CheckPolled returns an error unless Go's poller watches the file. os.NewFile does not
// tell when it cannot (epoll_ctl(2), ENOMEM and ENOSPC), and then who reads does not wait,
// but fails.
func CheckPolled(f *os.File) error {
	if err := f.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("%s is not watched by Go's poller, for want of memory or by the limit of the user (epoll(7), max_user_watches): %w", f.Name(), err)
	}
	return nil
}

// Close ends the set: Wait fails from now on. The descriptors stay the callers'.
func (s *Set) Close() { s.file.Close() }

// Add has Wait report a key for the events of a descriptor, such as unix.EPOLLIN, from
// now on. EPOLLHUP and EPOLLERR are always among them. It lasts until Remove, or until
// the last descriptor of the same open file is closed, in any process.
func (s *Set) Add(fd int, events uint32, key int32) error {
	return s.Descriptor(func(set int) error { return FD(set).Add(fd, events, key) })
}

// Modify changes for which events a descriptor is reported, with what key.
func (s *Set) Modify(fd int, events uint32, key int32) error {
	return s.Descriptor(func(set int) error {
		return control(set, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: key})
	})
}

// Descriptor calls f with the set's own descriptor, which can be read while Wait would
// return at once. f must not keep it.
func (s *Set) Descriptor(f func(fd int) error) error {
	var failure error
	if err := s.raw.Control(func(fd uintptr) { failure = f(int(fd)) }); err != nil {
		return err
	}
	return failure
}

// Remove ends what Add began. Wait may have returned an event before.
func (s *Set) Remove(fd int) error {
	return s.Descriptor(func(set int) error { return FD(set).Remove(fd) })
}

// An FD is a descriptor of a Set, or of a copy of it in another table of descriptors. A
// thread with a table of its own needs one for the descriptors there: the kernel tells
// those in a set apart by their open files and their numbers.
type FD int

// Add does what Set.Add does.
func (set FD) Add(fd int, events uint32, key int32) error {
	return control(int(set), unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: key})
}

// Remove does what Set.Remove does.
func (set FD) Remove(fd int) error { return control(int(set), unix.EPOLL_CTL_DEL, fd, nil) }

func control(set, op, fd int, event *unix.EpollEvent) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(set, op, fd, event))
}

// Wait waits for events and stores them in memory of the caller's. It returns how many
// they are, at least one unless there is an error: os.ErrDeadlineExceeded, or another
// one after Close. The Fd of an event is its key.
//
// waited says that there was none at first. With memory for one event, Wait reports
// descriptors in turn that go on having some: the kernel puts the one that it reports at
// the end of its list.
func (s *Set) Wait(events []unix.EpollEvent) (n int, waited bool, err error) {
	s.events, s.found, s.err, s.waited = events, 0, nil, false
	err = s.raw.Read(s.look)
	if err == nil {
		err = s.err
	}
	return s.found, s.waited, err
}

// poll looks for events. It reports false if there are none.
func (s *Set) poll(epoll uintptr) bool {
	for {
		n, err := unix.EpollWait(int(epoll), s.events, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			s.err = os.NewSyscallError("epoll_wait", err)
			return true
		case n == 0:
			s.waited = true
			return false
		}
		s.found = n
		return true
	}
}

// SetDeadline has Wait fail with os.ErrDeadlineExceeded at a time, never if it is zero.
func (s *Set) SetDeadline(at time.Time) error { return s.file.SetReadDeadline(at) }

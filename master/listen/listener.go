package listen

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Listener is a listening stream socket.
type Listener struct {
	file *os.File        // owns the descriptor; registered with Go's poller
	raw  syscall.RawConn // of file

	local    netip.AddrPort // zero for unix sockets
	wildcard bool           // local is not the local address of each connection
	path     string         // of a unix socket; '@' begins an abstract name

	bound   *boundPath  // the file that Close removes, or nil
	adopted bool        // a service manager has bound the socket and keeps it
	closed  atomic.Bool // set before the descriptor is closed
}

// newListener takes ownership of fd, a non-blocking listening socket.
func newListener(fd int) (*Listener, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	l := &Listener{}
	switch name := name.(type) {
	case *unix.SockaddrInet4, *unix.SockaddrInet6:
		l.local = addrPort(name)
		l.wildcard = l.local.Addr().IsUnspecified()
	case *unix.SockaddrUnix:
		l.path = name.Name
	}
	l.file = os.NewFile(uintptr(fd), "listener "+l.Local())
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, err
	}
	return l, nil
}

// Local returns the address to which the socket is bound, in the form that
// config.ParseAddress parses. For port 0 it has the port that the kernel has
// chosen.
func (l *Listener) Local() string {
	if l.path != "" {
		return "unix:" + l.path
	}
	return l.local.String()
}

// Inode returns the inode number of the socket. sockdiag.Listening uses it as
// key.
func (l *Listener) Inode() (uint64, error) {
	var stat unix.Stat_t
	var err error
	if control := l.raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); control != nil {
		err = control // it is closed
	}
	if err != nil {
		return 0, fmt.Errorf("find the inode of listener %s: %w", l.Local(), err)
	}
	return stat.Ino, nil
}

// Queue returns how many connections wait in the kernel's queue for accept, and
// how many may. It returns false for unix sockets, for which the kernel does
// not tell.
//
// For a listening socket the kernel puts the two numbers into fields of struct
// tcp_info that have no other use there (tcp_get_info in net/ipv4/tcp.c).
func (l *Listener) Queue() (waiting, limit int, ok bool) {
	if l.path != "" {
		return 0, 0, false
	}
	err := l.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			waiting, limit, ok = int(info.Unacked), int(info.Sacked), true
		}
	})
	return waiting, limit, ok && err == nil
}

// Close closes the socket and makes every Accept return ErrClosed. It also
// removes the socket file that Open has created, unless another one has taken
// its place.
func (l *Listener) Close() error {
	l.closed.Store(true)
	// Remove the file first. As soon as the socket is closed, a successor may
	// bind.
	var removed error
	if l.bound != nil {
		if err := l.bound.remove(); err != nil {
			removed = fmt.Errorf("remove %s: %w", l.bound.path, err)
		}
		l.bound = nil
	}
	return errors.Join(removed, l.file.Close())
}

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
	wildcard bool           // local says less than getsockname of a connection does
	path     string         // of a unix socket, with '@' for an abstract name

	bound   *boundPath  // what Close removes, or nil
	adopted bool        // somebody else has bound it, and listens with it too
	closed  atomic.Bool // set before the descriptor closes
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

// Local returns the address that the socket is really bound to, in the form
// that config.ParseAddress takes: with the kernel's port where 0 was asked for.
func (l *Listener) Local() string {
	if l.path != "" {
		return "unix:" + l.path
	}
	return l.local.String()
}

// Inode returns the number of the socket, by which sockdiag.Listening knows it.
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

// Queue returns how many connections wait to be accepted, and how many may, by
// the kernel's account. It reports false for unix sockets, of which this is not
// how to ask.
//
// For a listening socket the kernel has the two numbers in fields of struct
// tcp_info that it has no other use for (tcp_get_info in net/ipv4/tcp.c).
func (l *Listener) Queue() (waiting, most int, ok bool) {
	if l.path != "" {
		return 0, 0, false
	}
	err := l.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			waiting, most, ok = int(info.Unacked), int(info.Sacked), true
		}
	})
	return waiting, most, ok && err == nil
}

// Close ends every Accept with ErrClosed, closes the socket, and removes the
// socket file that Open created, if it is still the same one.
func (l *Listener) Close() error {
	l.closed.Store(true)
	// The file goes first: once the socket is closed, a successor may bind.
	var removed error
	if l.bound != nil {
		if err := l.bound.remove(); err != nil {
			removed = fmt.Errorf("remove %s: %w", l.bound.path, err)
		}
		l.bound = nil
	}
	return errors.Join(removed, l.file.Close())
}

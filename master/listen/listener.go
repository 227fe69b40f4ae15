package listen

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/epoll"
)

// A Listener is a listening stream socket.
type Listener struct {
	descriptor descriptor

	// The zone of local is a number, as in sockdiag, and that of shown a name.
	local, shown netip.AddrPort // zero for unix sockets
	wildcard     bool           // local is not the local address of each connection
	v6Only       bool           // of a wildcard: it does not take IPv4 connections
	path         string         // of a unix socket; '@' begins an abstract name

	// The interface that a TCP socket is bound to: its index at bind, or 0, and
	// the name that it had then.
	index  int
	device string

	// The file of a unix socket that Open has created or ReuseStored has found.
	// The inode is 0 if there is none.
	fileDevice, fileInode uint64

	bound   *boundPath // the file that Close removes, or nil
	adopted bool       // a service manager has bound the socket and keeps it
}

// newListener takes ownership of fd, a non-blocking listening socket.
func newListener(fd int) (*Listener, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	l := &Listener{descriptor: descriptor{fd: fd}}
	switch name := name.(type) {
	case *unix.SockaddrInet4, *unix.SockaddrInet6:
		l.local = addrPort(name)
		l.wildcard = l.local.Addr().IsUnspecified()
		if l.local.Addr().Is6() {
			only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
			l.v6Only = err != nil || only != 0
		}
		if l.index = boundInterface(fd); l.index != 0 {
			l.device, _ = interfaceName(fd, l.index) // it may be gone
		}
		l.shown = l.nameZone(fd, l.local)
	case *unix.SockaddrUnix:
		l.path = name.Name
	}
	return l, nil
}

// Local returns the address to which the socket is bound, in the form that
// config.ParseAddress parses. For port 0 it has the port that the kernel has
// chosen. An IPv6 zone is the name that the interface had when the socket was
// bound.
func (l *Listener) Local() string {
	if l.path != "" {
		return "unix:" + l.path
	}
	return l.shown.String()
}

// Inode returns the inode number of the socket. sockdiag.Listening uses it as
// key.
func (l *Listener) Inode() (uint64, error) {
	var stat unix.Stat_t
	var err error
	if control := l.descriptor.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); control != nil {
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
	err := l.descriptor.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			waiting, limit, ok = int(info.Unacked), int(info.Sacked), true
		}
	})
	return waiting, limit, ok && err == nil
}

// Watch has a set report a key while a connection waits, until Unwatch or Close. A
// listener that is watched already goes on as it was.
func (l *Listener) Watch(set *epoll.Set, key int32) error { return l.descriptor.watch(set, key) }

// Unwatch ends what Watch began. The set may have reported the key before.
func (l *Listener) Unwatch() { l.descriptor.unwatch() }

// Close closes the socket and makes every Accept return ErrClosed. When it
// returns, the address is free, unless somebody else holds the socket. It also
// removes the socket file that Open has created, unless another one has taken
// its place.
func (l *Listener) Close() error {
	// Remove the file first. As soon as the socket is closed, a successor may
	// bind.
	var removed error
	if l.bound != nil {
		if err := l.bound.remove(); err != nil {
			removed = fmt.Errorf("remove %s: %w", l.bound.path, err)
		}
		l.bound = nil
	}
	return errors.Join(removed, l.descriptor.close())
}

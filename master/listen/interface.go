package listen

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A socket that is bound to a network interface is bound to its index
// (SO_BINDTODEVICE, and bind(2) to a link-local IPv6 address; socket(7),
// ipv6(7)). An interface that is deleted and made again has another index, and
// nothing tells the socket. It goes on to listen, and no connection reaches it.

// boundInterface returns the index of the interface that a socket is bound to, or
// 0. The kernel gives it for a link-local address, too.
func boundInterface(fd int) int {
	if index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err == nil {
		return index
	}
	// Linux before 5.0 knows only the name.
	name, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	if err != nil || name == "" {
		return 0
	}
	index, _ := interfaceIndex(fd, name)
	return index
}

// interfaceIndex returns the index of an interface in the network of a socket.
func interfaceIndex(fd int, name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

// interfaceName returns the name of an interface in the network of a socket. The
// error is ENODEV if there is no interface with that index.
func interfaceName(fd, index int) (string, error) {
	request, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	request.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, request); err != nil {
		return "", err
	}
	return request.Name(), nil
}

// zoneIndex returns the index of an IPv6 zone in the network of a socket, or 0.
// The zone is the name or the number of an interface (RFC 4007 section 11).
func zoneIndex(fd int, zone string) int {
	if index, err := interfaceIndex(fd, zone); err == nil {
		return index
	}
	if index, err := strconv.Atoi(zone); err == nil {
		if _, err := interfaceName(fd, index); err == nil {
			return index
		}
	}
	return 0
}

// nameZone replaces the number of an IPv6 zone by the name of its interface. fd
// is a socket in the same network. A number that has no name stays. Only
// link-local addresses have a zone, so no other connection needs a system call.
func (l *Listener) nameZone(fd int, at netip.AddrPort) netip.AddrPort {
	zone := at.Addr().Zone()
	if zone == "" {
		return at
	}
	index, err := strconv.Atoi(zone)
	if err != nil {
		return at
	}
	name := l.device
	if index != l.index || name == "" {
		if name, err = interfaceName(fd, index); err != nil {
			return at
		}
	}
	return netip.AddrPortFrom(at.Addr().WithZone(name), at.Port())
}

// OnInterface reports whether the socket is bound to a network interface.
func (l *Listener) OnInterface() bool { return l.index != 0 }

// Lost returns why no client can reach the listener any more although it
// listens, or nil: its interface is another one than at bind, or the file of its
// unix socket is gone. Reopen mends that. Lost may be called by anybody at any
// time.
func (l *Listener) Lost() error {
	if l.path != "" {
		return l.lostFile()
	}
	return l.lostInterface()
}

func (l *Listener) lostInterface() error {
	if l.index == 0 {
		return nil
	}
	var lost error
	err := l.descriptor.Control(func(fd uintptr) {
		name, err := interfaceName(int(fd), l.index)
		switch {
		case err == nil && (name == l.device || l.device == ""):
			return
		case err != nil && err != unix.ENODEV:
			return // it cannot be told
		}
		_, gone := interfaceIndex(int(fd), l.device)
		switch {
		case l.device == "":
			lost = errors.New("its interface is gone")
		case err == nil && gone != nil:
			lost = fmt.Errorf("its interface %s is called %s now", l.device, name)
		case err == nil:
			lost = fmt.Errorf("its interface is called %s now, and %s is another one", name, l.device)
		case gone != nil:
			lost = fmt.Errorf("its interface %s is gone", l.device)
		default:
			lost = fmt.Errorf("its interface %s was made anew, and the socket belongs to the one that is gone", l.device)
		}
	})
	if err != nil {
		return nil // it is closed
	}
	return lost
}

// lostFile returns an error if the file of a unix socket, which Open has created
// or ReuseStored has found, is no longer at its path.
func (l *Listener) lostFile() error {
	if l.fileInode == 0 || l.descriptor.isClosed() {
		return nil
	}
	var st unix.Stat_t
	switch err := unix.Lstat(l.path, &st); {
	case err != nil:
		return fmt.Errorf("its file: %w", os.NewSyscallError("lstat", err))
	case uint64(st.Dev) != l.fileDevice || st.Ino != l.fileInode:
		return errors.New("its file was replaced by another one")
	}
	return nil
}

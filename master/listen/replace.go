package listen

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// OpenBeside does what OpenResolved does where other sockets of this process
// listen, which the caller is going to close. So there is no moment without a
// listener. On error nothing about the others has changed.
func OpenBeside(addr config.Address, resolved []config.Address, o Options, others []Controller) ([]*Listener, error) {
	var listeners []*Listener
	err := Sharing(others, func() (err error) {
		shared := o
		shared.ReusePort = true
		listeners, err = OpenResolved(addr, resolved, shared)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, l := range listeners {
		if err := l.setReusePort(o.ReusePort); err != nil {
			CloseAll(listeners)
			return nil, fmt.Errorf("listen %v: %w", addr, err)
		}
	}
	return listeners, nil
}

// Reopen binds a new socket to the address of a listener, with its port or path,
// and with other options. The caller closes the old listener, and others of this
// process that may be at the same port. all says that the address stands for all
// addresses of both families. On error nothing about the old listeners has
// changed.
func (l *Listener) Reopen(o Options, others []Controller, all bool) (*Listener, error) {
	if l.path != "" {
		fresh, err := openUnix(l.path, o)
		if err != nil {
			return nil, fmt.Errorf("listen %s: %w", l.Local(), err)
		}
		return fresh, nil
	}
	at := l.local
	if at.Addr().Zone() != "" {
		// The interface may have another number by now.
		if zone := cmp.Or(o.BindToDevice, l.device); zone != "" {
			at = netip.AddrPortFrom(at.Addr().WithZone(zone), at.Port())
		}
	}
	var fresh *Listener
	err := Sharing(append([]Controller{&l.descriptor}, others...), func() (err error) {
		shared := o
		shared.ReusePort = true
		fresh, err = openTCP(at, o.V6Only && !all, shared)
		return err
	})
	if err == nil {
		if err = fresh.setReusePort(o.ReusePort); err != nil {
			fresh.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", l.Local(), err)
	}
	return fresh, nil
}

// Sharing calls f while sockets allow another one of this user at their address
// (SO_REUSEPORT). The kernel looks at the option when a socket is bound
// (inet_csk_bind_conflict), so it may be set on a socket that listens already,
// and be set back afterwards. f binds a socket that has the option, too.
func Sharing(sockets []Controller, f func() error) error {
	for _, s := range sockets {
		var before int
		var err error
		if controlErr := s.Control(func(fd uintptr) {
			if before, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT); err == nil && before == 0 {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		}); controlErr != nil || err != nil {
			continue // closed, or a unix socket
		}
		if before == 0 {
			defer s.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 0) })
		}
	}
	return f()
}

func (l *Listener) setReusePort(set bool) error {
	return l.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, flag(set)) })
}

// Raw returns the socket for Sharing. It is valid until Close.
func (l *Listener) Raw() Controller { return &l.descriptor }

// AddrPort returns the address of a TCP listener with a zone as a number, and the
// zero AddrPort for a unix socket.
func (l *Listener) AddrPort() netip.AddrPort { return l.local }

// IsWildcard reports whether the listener takes connections to more than one
// address.
func (l *Listener) IsWildcard() bool { return l.wildcard }

// Covers reports whether the listener takes the connections to every address of
// another TCP listener.
func (l *Listener) Covers(other *Listener) bool {
	switch {
	case l.path != "" || other.path != "":
		return l.path == other.path
	case l.local.Port() != other.local.Port():
		return false
	case l.local == other.local:
		return !l.wildcard || !l.v6Only || other.v6Only
	case !l.wildcard:
		return false
	case l.local.Addr().Is4():
		return other.local.Addr().Is4()
	case l.v6Only:
		return other.local.Addr().Is6() && !other.wildcard
	}
	return true
}

// Overlaps reports whether there is an address at which both listeners take
// connections.
func (l *Listener) Overlaps(other *Listener) bool {
	return l.Covers(other) || other.Covers(l) || l.local == other.local && l.path == "" && other.path == ""
}

// IsBoundAt reports whether a TCP socket is bound to an address, or to all
// addresses of its port. The caller keeps fd.
func IsBoundAt(fd int, a config.Address) bool {
	name, err := unix.Getsockname(fd)
	if err != nil || a.IsUnix() {
		return false
	}
	at := addrPort(name)
	return at.IsValid() && at.Port() == a.Port &&
		(at.Addr().IsUnspecified() || !a.IP.IsValid() || a.IP.IsUnspecified() || at.Addr().WithZone("") == a.IP.WithZone(""))
}

// noInterface is an index that no interface has. The kernel counts them from 1.
const noInterface = math.MaxInt32

// StopArrivals keeps new connections from a TCP listener that is about to be
// closed, and leaves them to another listener that is bound to their address.
// Those that wait in its queue, or have begun, still can be accepted. It does
// nothing for a unix socket.
//
// The kernel looks for a listener among those that are bound to the interface
// of a packet, or to none (compute_score in net/ipv4/inet_hashtables.c). So a
// listener is out of the way that is bound to an interface which does not exist.
// Connections that have begun keep the interface of their beginning. A socket
// that is bound to an interface already can be moved with CAP_NET_RAW only
// (socket(7), SO_BINDTODEVICE); then, and before Linux 5.0, StopArrivals fails.
func (l *Listener) StopArrivals() error {
	if l.path != "" {
		return nil
	}
	return StopArrivals(&l.descriptor)
}

// StopArrivals does it for a TCP socket of which there is no Listener.
func StopArrivals(socket Controller) error {
	var err error
	controlErr := socket.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, noInterface)
	})
	return errors.Join(controlErr, err)
}

// control calls f with the descriptor of a TCP listener.
func (l *Listener) control(f func(fd int) error) error {
	if l.path != "" {
		return nil
	}
	return l.Descriptor(f)
}

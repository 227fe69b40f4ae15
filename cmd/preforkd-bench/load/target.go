package load

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A target is where the load goes and where it comes from.
type target struct {
	remote  unix.SockaddrInet4
	local   unix.SockaddrInet4 // of the last connection
	sources *Sources
}

// newTarget accepts loopback addresses only: this is no tool for the network.
func newTarget(addr netip.AddrPort) (*target, error) {
	if !addr.Addr().Is4() || !addr.Addr().IsLoopback() || addr.Port() == 0 {
		return nil, fmt.Errorf("target %v: want an address in 127.0.0.0/8 with a port", addr)
	}
	return &target{
		remote:  unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()},
		sources: ordinarySources(),
	}, nil
}

// connect starts a connection from the next source address. The caller owns
// the returned socket, which is non-blocking. Completion shows as EPOLLOUT.
func (t *target) connect() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			fd = -1
		}
	}()
	// With IP_BIND_ADDRESS_NO_PORT connect chooses the port, and may choose one
	// that is in use towards another remote address (ip(7)).
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fd, err
	}
	t.local.Addr = t.sources.take()
	if err := unix.Bind(fd, &t.local); err != nil {
		return fd, err
	}
	if err := unix.Connect(fd, &t.remote); err != nil && err != unix.EINPROGRESS {
		return fd, err
	}
	return fd, nil
}

// reset closes a socket with RST instead of FIN, and without TIME_WAIT.
func reset(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

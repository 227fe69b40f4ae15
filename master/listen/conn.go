package listen

import (
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/sockdiag"
)

// A Conn is an accepted connection: its descriptor and its two ends.
type Conn struct {
	// FD is the connected socket, in blocking mode and with FD_CLOEXEC.
	FD int

	// Peer and Local are the two ends of a TCP connection. A v4-mapped address
	// is given as v4, and an IPv6 zone by the name of its interface. Both are
	// zero for a unix socket.
	Peer, Local netip.AddrPort

	// Socket holds the two ends of the TCP socket itself. They stay as they are
	// when a proxy gives other ones. An IPv6 zone is a number there.
	Socket sockdiag.Pair

	// These are set for a unix socket: the process that has connected, the path
	// of the peer, and the path of the listener. Most peers have no path.
	Credentials         *unix.Ucred
	PeerPath, LocalPath string

	// Via is the name of the proxy that passes the connection on, or "".
	Via string
}

// SetProxied sets the ends of the connection to those that a proxy has given.
func (c *Conn) SetProxied(peer, local netip.AddrPort) {
	*c = Conn{FD: c.FD, Peer: peer, Local: local, Socket: c.Socket, Via: c.PeerName()}
}

// describe finds out the ends of an accepted connection. The caller keeps fd.
func (l *Listener) describe(fd int, from unix.Sockaddr) (*Conn, error) {
	conn := &Conn{FD: fd}
	if peer, ok := from.(*unix.SockaddrUnix); ok {
		credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return nil, fmt.Errorf("read peer credentials: %w", err)
		}
		conn.Credentials = credentials
		conn.LocalPath = l.path
		// x/sys ends a name at its first NUL, so no environment variable gets a
		// NUL. It gives a socket that is not bound the name "@".
		if peer.Name != "@" {
			conn.PeerPath = peer.Name
		}
		return conn, nil
	}
	conn.Peer, conn.Local = addrPort(from), l.local
	if l.wildcard {
		name, err := unix.Getsockname(fd)
		if err != nil {
			return nil, fmt.Errorf("read local address: %w", err)
		}
		conn.Local = addrPort(name)
	}
	conn.Socket = sockdiag.Pair{Local: conn.Local, Peer: conn.Peer}
	conn.Local, conn.Peer = l.nameZone(fd, conn.Local), l.nameZone(fd, conn.Peer)
	return conn, nil
}

// IsUnix reports whether the connection came over a unix socket.
func (c *Conn) IsUnix() bool { return c.Credentials != nil }

// PeerName returns the client's end as the log shows it: "ip:port", or the path
// of a unix socket, or the user and the process if there is no path.
func (c *Conn) PeerName() string {
	switch {
	case !c.IsUnix():
		return c.Peer.String()
	case c.PeerPath != "":
		return "unix:" + c.PeerPath
	}
	return "unix:uid=" + strconv.FormatUint(uint64(c.Credentials.Uid), 10) +
		",pid=" + strconv.FormatInt(int64(c.Credentials.Pid), 10)
}

// LocalName returns the server's end as the log shows it.
func (c *Conn) LocalName() string {
	if c.IsUnix() {
		return "unix:" + c.LocalPath
	}
	return c.Local.String()
}

// addrPort converts a TCP socket address. It gives an IPv6 zone by its number,
// which needs no look-up. See nameZone.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return netip.AddrPortFrom(ip, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

package listen

import (
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/sockdiag"
)

// A Conn is an accepted connection: a descriptor, and who is at its ends.
type Conn struct {
	// FD is the connected socket, in blocking mode and with FD_CLOEXEC.
	FD int

	// Peer and Local are the two ends of a TCP connection; v4-mapped
	// addresses are given as v4. They are zero for a unix socket.
	Peer, Local netip.AddrPort

	// Socket is the two ends of the TCP socket itself, which stay what they
	// are when a proxy has told of others.
	Socket sockdiag.Pair

	// Of a unix socket: who connected, the path that the peer is bound to
	// (most are not), and the path of the listener.
	Credentials         *unix.Ucred
	PeerPath, LocalPath string

	// Via is the name of the proxy that speaks for the peer, or "".
	Via string
}

// Proxied makes the connection one between the ends that a proxy has told of.
func (c *Conn) Proxied(peer, local netip.AddrPort) {
	*c = Conn{FD: c.FD, Peer: peer, Local: local, Socket: c.Socket, Via: c.PeerName()}
}

// describe completes an accepted connection. The caller keeps fd.
func (l *Listener) describe(fd int, from unix.Sockaddr) (*Conn, error) {
	conn := &Conn{FD: fd}
	if peer, ok := from.(*unix.SockaddrUnix); ok {
		credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return nil, fmt.Errorf("read peer credentials: %w", err)
		}
		conn.Credentials = credentials
		conn.LocalPath = l.path
		// x/sys ends a name at its first NUL, so that no environment variable
		// gets one, and calls the one of an unbound socket "@".
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
	return conn, nil
}

// IsUnix reports whether the connection came over a unix socket.
func (c *Conn) IsUnix() bool { return c.Credentials != nil }

// PeerName returns the client's end as the log shows it: "ip:port", or for a
// unix socket its path, or who it is when it has none.
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

// addrPort converts a TCP socket address. An IPv6 zone is given by its number,
// which needs no look-up and is valid wherever a name is.
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

package listen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// Keepalive of accepted connections. A worker whose peer has vanished without
// a word holds its slot until the kernel notices: here after 60 + 4*15 seconds
// of silence, where the kernel's own default is over two hours (tcp(7)).
const (
	keepaliveIdle     = 60 * time.Second
	keepaliveInterval = 15 * time.Second
	keepaliveProbes   = 4
)

// Open binds and listens at an address. A host name gives a listener for each
// address that it resolves to. The caller owns the listeners; on error there
// are none and nothing is left behind.
//
// Errors name the address and say what the system said, for instance
// "listen 127.0.0.1:7007: address already in use".
func Open(addr config.Address) (listeners []*Listener, err error) {
	defer func() {
		if err != nil {
			CloseAll(listeners)
			listeners, err = nil, fmt.Errorf("listen %v: %w", addr, err)
		}
	}()
	if addr.IsUnix() {
		l, err := openUnix(addr.Path)
		if err != nil {
			return nil, err
		}
		return []*Listener{l}, nil
	}
	if addr.Host == "" && !addr.IP.IsValid() {
		l, err := openEvery(addr.Port)
		if err != nil {
			return nil, err
		}
		return []*Listener{l}, nil
	}
	ips := []netip.Addr{addr.IP}
	if addr.Host != "" {
		if ips, err = resolve(addr.Host); err != nil {
			return nil, err
		}
	}
	for _, ip := range ips {
		l, err := openTCP(netip.AddrPortFrom(ip, addr.Port), true)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// CloseAll closes listeners, as Close does, and ignores errors.
func CloseAll(listeners []*Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// resolveTimeout bounds name resolution at start: a dead name server must end
// in an error, not in a daemon that hangs before its first log line.
const resolveTimeout = 10 * time.Second

func resolve(host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, ip := range found {
		if ip = ip.Unmap(); !seen[ip] {
			seen[ip] = true
			ips = append(ips, ip)
		}
	}
	return ips, nil
}

// openEvery listens at every address of both families with one socket, or at
// every IPv4 address where the kernel has no IPv6.
func openEvery(port uint16) (*Listener, error) {
	l, err := openTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), false)
	if err == unix.EAFNOSUPPORT || err == unix.EADDRNOTAVAIL {
		return openTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), port), true)
	}
	return l, err
}

// openTCP binds one TCP socket. v6only keeps a socket for [::] from taking the
// IPv4 addresses too, so that 0.0.0.0 and [::] can be listed side by side;
// it is always set, because bindv6only (ipv6(7)) may differ between hosts.
//
// IPPROTO_TCP is asked for by name: Multipath TCP sockets behave differently
// under splice and socket options, and a program that was handed one cannot
// tell.
func openTCP(at netip.AddrPort, v6only bool) (*Listener, error) {
	sockaddr, err := sockaddrOf(at)
	if err != nil {
		return nil, err
	}
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	options := []option{
		// Restart while old connections are in TIME_WAIT. On Linux it does
		// not let a second server have an address that one listens at.
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		// Accepted sockets inherit these from the listener (tcp(7)), which
		// saves system calls for every connection. Without NODELAY a
		// handler that answers in two small writes waits for a delayed
		// acknowledgement between them.
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepaliveIdle / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepaliveInterval / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepaliveProbes},
	}
	if family == unix.AF_INET6 {
		v := 0
		if v6only {
			v = 1
		}
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v})
	}
	fd, err := open(family, unix.IPPROTO_TCP, options, sockaddr)
	if err != nil {
		return nil, err
	}
	return newListener(fd)
}

func sockaddrOf(at netip.AddrPort) (unix.Sockaddr, error) {
	ip := at.Addr()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}, nil
	}
	zone, err := zoneID(ip.Zone())
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: ip.As16(), ZoneId: zone}, nil
}

// zoneID returns the index of an IPv6 zone, which is an interface's name or
// its number (RFC 4007 section 11).
func zoneID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index), nil
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("zone %q is not an interface of this host", zone)
	}
	return uint32(n), nil
}

type option struct{ level, name, value int }

// open makes a non-blocking listening socket. The caller owns fd.
func open(family, protocol int, options []option, at unix.Sockaddr) (fd int, err error) {
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, fmt.Errorf("set socket option %d.%d: %w", o.level, o.name, err)
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		return -1, err
	}
	return fd, unix.Listen(fd, maxBacklog())
}

// maxBacklog returns the longest accept queue that the running kernel grants.
// The constant SOMAXCONN of the headers is only what it was at build time, and
// the kernel cuts what is asked for without a word (listen(2)).
func maxBacklog() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			return n
		}
	}
	return unix.SOMAXCONN
}

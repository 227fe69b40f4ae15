package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// Open binds sockets to an address and listens. For a host name it returns a
// listener for each address of the name, and may wait for a name server. The
// caller owns the listeners. On error there are none, and no socket or file is
// left.
//
// Errors name the address and have the system's text, for instance "listen
// 127.0.0.1:7007: address already in use".
func Open(addr config.Address, o Options) ([]*Listener, error) {
	resolved, err := Resolve(addr)
	if err != nil {
		return nil, fmt.Errorf("listen %v: %w", addr, err)
	}
	return OpenResolved(addr, resolved, o)
}

// OpenResolved does what Open does, for an address that Resolve has resolved
// before. It asks no name server.
func OpenResolved(addr config.Address, resolved []config.Address, o Options) (listeners []*Listener, err error) {
	defer func() {
		if err != nil {
			CloseAll(listeners)
			listeners, err = nil, fmt.Errorf("listen %v: %w", addr, err)
		}
	}()
	if addr.IsUnix() {
		l, err := openUnix(addr.Path, o)
		if err != nil {
			return nil, err
		}
		return []*Listener{l}, nil
	}
	if addr.Host == "" && !addr.IP.IsValid() {
		l, err := openAllAddresses(addr.Port, o)
		if err != nil {
			return nil, err
		}
		return []*Listener{l}, nil
	}
	for _, a := range resolved {
		l, err := openTCP(netip.AddrPortFrom(a.IP, a.Port), o.V6Only, o)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// Resolve returns the addresses of a host name. An address without a host name
// it returns unchanged. It may wait for a name server. It binds nothing.
func Resolve(addr config.Address) ([]config.Address, error) {
	if addr.Host == "" {
		return []config.Address{addr}, nil
	}
	return resolve(addr, net.DefaultResolver)
}

// ResolveLocally does what Resolve does without a name server: it knows only the
// names in /etc/hosts. For other names it returns nothing.
func ResolveLocally(addr config.Address) []config.Address {
	if addr.Host == "" {
		return []config.Address{addr}
	}
	local := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server is to be asked")
	}}
	addresses, _ := resolve(addr, &local)
	return addresses
}

// resolve looks up the host name of an address.
func resolve(addr config.Address, by *net.Resolver) ([]config.Address, error) {
	ips, err := lookup(addr.Host, by)
	if err != nil {
		return nil, err
	}
	var addresses []config.Address
	for _, ip := range ips {
		addresses = append(addresses, config.Address{IP: ip, Port: addr.Port})
	}
	return addresses, nil
}

// CloseAll calls Close for each listener and ignores errors.
func CloseAll(listeners []*Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// resolveTimeout is the longest time to resolve a host name. If a name server
// does not answer, the start must fail and not hang before the first line of
// the log.
const resolveTimeout = 10 * time.Second

func lookup(host string, by *net.Resolver) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	found, err := by.LookupNetIP(ctx, "ip", host)
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

// openAllAddresses listens at all addresses of both families with one socket.
// If the kernel has no IPv6, it listens at all IPv4 addresses.
func openAllAddresses(port uint16, o Options) (*Listener, error) {
	l, err := openTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), false, o)
	if err == unix.EAFNOSUPPORT || err == unix.EADDRNOTAVAIL {
		return openTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), port), true, o)
	}
	return l, err
}

// openTCP binds one TCP socket. With v6only, a socket for [::] does not get the
// IPv4 addresses, so a service can list 0.0.0.0 and [::] together. The option
// is always set, because its default (bindv6only, ipv6(7)) may differ between
// hosts.
//
// The protocol is IPPROTO_TCP. A Multipath TCP socket behaves differently with
// splice and socket options, and a program that inherits one cannot know.
func openTCP(at netip.AddrPort, v6only bool, o Options) (*Listener, error) {
	sockaddr, err := sockaddrOf(at)
	if err != nil {
		return nil, err
	}
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	options := append(o.beforeBind(), o.forConnections()...)
	if family == unix.AF_INET6 {
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, flag(v6only)})
	}
	fd, err := open(family, unix.IPPROTO_TCP, options, sockaddr, o.BindToDevice)
	if err != nil {
		return nil, err
	}
	return listenOn(fd, o)
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

// zoneID returns the index of an IPv6 zone. The zone is the name or the number
// of an interface (RFC 4007 section 11).
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

// open makes a non-blocking socket and binds it. The caller then owns fd.
func open(family, protocol int, options []option, at unix.Sockaddr, device string) (_ int, err error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
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
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return -1, fmt.Errorf("bind to device %s: %w", device, err)
		}
	}
	return fd, unix.Bind(fd, at)
}

// listenOn makes a listener of a bound socket, and then owns fd.
func listenOn(fd int, o Options) (*Listener, error) {
	if err := unix.Listen(fd, o.backlog()); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newListener(fd)
}

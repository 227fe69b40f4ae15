package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// An Address is an address to listen at or to connect to, in one of the forms
//
//	host:port  127.0.0.1:7007  :7007  [::1]:7007  [fe80::1%eth0]:7007
//	unix:/path  unix:relative/path  unix:@abstract
//
// In place of a port's number there may be the name of a TCP service, such as
// finger (services(5)).
//
// The zero Address is not an address. Two addresses are equal (==) when their
// texts mean the same. That does not resolve host names.
type Address struct {
	// Path is the path of a unix socket, or "" for TCP. A leading '@' stands
	// for the NUL byte of an abstract name (unix(7)).
	Path string

	// Host is a host name. It is "" when IP is set, and for all addresses.
	Host string

	// IP is the address, never v4-mapped. The zero netip.Addr with an empty
	// Host means all addresses of both families.
	IP netip.Addr

	// Port is the TCP port. With 0 the kernel chooses one.
	Port uint16
}

// MaxUnixPath is the maximum length of a unix socket's path, in bytes. sun_path
// has 108, and the kernel needs one for a NUL (unix(7)).
const MaxUnixPath = 107

// ParseAddress parses one of the forms of an Address. Its errors quote s and
// say what is allowed.
func ParseAddress(s string) (Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

func parseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseUnix(path)
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@") {
		return Address{}, fmt.Errorf("a unix socket is written %q", "unix:"+s)
	}
	host, port, err := splitHostPort(s)
	if err != nil {
		return Address{}, err
	}
	var a Address
	if a.Port, err = parsePort(port); err != nil {
		return Address{}, err
	}
	bracketed := strings.HasPrefix(s, "[")
	switch ip, err := netip.ParseAddr(host); {
	case host == "" && !bracketed:
	case err == nil && bracketed && !ip.Is6():
		return Address{}, fmt.Errorf("brackets hold an IPv6 address, not %q", host)
	case err == nil:
		a.IP = ip.Unmap()
	case bracketed:
		return Address{}, fmt.Errorf("%q is not an IPv6 address", host)
	case !isHostname(host):
		return Address{}, fmt.Errorf("%q is neither an IP address nor a host name", host)
	default:
		a.Host = host
	}
	return a, nil
}

func parseUnix(path string) (Address, error) {
	switch {
	case path == "" || path == "@":
		return Address{}, fmt.Errorf("the path of the unix socket is missing")
	case strings.ContainsRune(path, 0):
		return Address{}, fmt.Errorf("the path of the unix socket holds a NUL byte")
	case len(path) > MaxUnixPath:
		return Address{}, fmt.Errorf("the path of the unix socket has %d bytes, at most %d are allowed", len(path), MaxUnixPath)
	}
	return Address{Path: path}, nil
}

// splitHostPort splits at the last colon outside of brackets.
func splitHostPort(s string) (host, port string, err error) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, rest, ok = strings.Cut(rest, "]")
		if !ok {
			return "", "", fmt.Errorf("the closing bracket is missing")
		}
		port, ok = strings.CutPrefix(rest, ":")
		if !ok {
			return "", "", fmt.Errorf("the port is missing; write %q", "["+host+"]:port")
		}
		return host, port, nil
	}
	i := strings.LastIndexByte(s, ':')
	switch {
	case i < 0:
		return "", "", fmt.Errorf("the port is missing; an address is written host:port, :port, [v6]:port, unix:/path or unix:@name")
	case strings.Count(s, ":") > 1:
		return "", "", fmt.Errorf("an IPv6 address is written in brackets, [v6]:port")
	}
	return s[:i], s[i+1:], nil
}

// isHostname reports whether s has the form of a host name (RFC 1123 section
// 2.1). It also allows the underscore, which people use. A name of digits and
// dots only is a mistyped IPv4 address, and no resolver should be asked for it.
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	letters := false
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
				letters = true
			case '0' <= c && c <= '9', c == '-':
			default:
				return false
			}
		}
	}
	return letters
}

// IsUnix reports whether the address is one of a unix socket.
func (a Address) IsUnix() bool { return a.Path != "" }

// String returns the address in the form that ParseAddress parses.
func (a Address) String() string {
	switch {
	case a.IsUnix():
		return "unix:" + a.Path
	case a.IP.IsValid():
		return netip.AddrPortFrom(a.IP, a.Port).String()
	}
	return a.Host + ":" + strconv.Itoa(int(a.Port))
}

// A PeerSet is a set of peers, in one of the forms
//
//	10.0.0.0/8  192.0.2.1  2001:db8::/32   IP prefixes; an address is a prefix with one address
//	unix  gid:100  gid:staff  uid:1000  uid:joe   peers of unix sockets
//
// Two sets that are equal (==) hold the same peers. The reverse is not true:
// the name and the number of a user differ until the name is looked up.
type PeerSet struct {
	// Prefix is masked and never v4-mapped. It is zero for peers of unix
	// sockets.
	Prefix netip.Prefix
	// Unix says which peers of unix sockets the set holds, if Prefix is zero.
	Unix UnixPeers
	// Account is the number or name after uid: or gid:.
	Account string
}

// UnixPeers is a kind of set of unix peers.
type UnixPeers string

// The kinds of sets of unix peers, from the lowest to the most specific.
const (
	UnixAll UnixPeers = "unix"
	UnixGID UnixPeers = "gid"
	UnixUID UnixPeers = "uid"
)

// ParsePeerSet parses one of the forms of a PeerSet.
func ParsePeerSet(s string) (PeerSet, error) {
	if s == string(UnixAll) {
		return PeerSet{Unix: UnixAll}, nil
	}
	for _, kind := range []UnixPeers{UnixUID, UnixGID} {
		if account, ok := strings.CutPrefix(s, string(kind)+":"); ok {
			if !isAccountName(account) {
				return PeerSet{}, fmt.Errorf("must name an account after the colon, by number or name")
			}
			return PeerSet{Unix: kind, Account: account}, nil
		}
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return PeerSet{}, errPeerSet
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p != p.Masked() {
			return PeerSet{}, fmt.Errorf("has bits set beyond the prefix length; did you mean %q?", p.Masked())
		}
		return PeerSet{Prefix: p}, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return PeerSet{}, errPeerSet
	}
	addr = addr.Unmap()
	return PeerSet{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
}

var errPeerSet = fmt.Errorf("must be an IP address or prefix such as 10.0.0.0/8 or fd00::/8, or unix, uid:NUMBER-OR-NAME, gid:NUMBER-OR-NAME")

// isAccountName reports whether s can be the number or name of a user or group.
// It allows the characters that useradd(8) allows.
func isAccountName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_.-$@", rune(c)) {
			return false
		}
	}
	return true
}

func (p PeerSet) String() string {
	switch {
	case p.Prefix.IsValid() && p.Prefix.IsSingleIP():
		return p.Prefix.Addr().String()
	case p.Prefix.IsValid():
		return p.Prefix.String()
	case p.Unix == UnixAll:
		return string(UnixAll)
	}
	return string(p.Unix) + ":" + p.Account
}

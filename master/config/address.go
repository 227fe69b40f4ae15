package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// An Address is a place to listen at or to connect to, in one of the forms
//
//	host:port  127.0.0.1:7007  :7007  [::1]:7007  [fe80::1%eth0]:7007
//	unix:/path  unix:relative/path  unix:@abstract
//
// The zero Address is none of them. Two addresses are equal (==) when they
// were written to mean the same place; names are not resolved for that.
type Address struct {
	// Path is the path of a unix socket, or "" for TCP. A leading '@' stands
	// for the NUL byte of an abstract name (unix(7)).
	Path string

	// Host is a name to resolve, or "" when IP is set or every address is meant.
	Host string

	// IP is the address in its shortest form, never v4-mapped. The zero
	// netip.Addr with an empty Host means every address of either family.
	IP netip.Addr

	// Port is the TCP port; 0 lets the kernel choose one.
	Port uint16
}

// MaxUnixPath is the longest path a unix socket can have, in bytes: sun_path
// has 108 and the kernel wants room for a NUL (unix(7)).
const MaxUnixPath = 107

// ParseAddress parses one of the forms above. Its errors quote s and say what
// is allowed.
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
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	a.Port = uint16(n)
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
// 2.1, and the underscore that people use all the same). A name of digits and
// dots only is a mistyped IPv4 address, which no resolver should be asked for.
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

// IsUnix reports whether the address is that of a unix socket.
func (a Address) IsUnix() bool { return a.Path != "" }

// String returns the address in the form that ParseAddress takes.
func (a Address) String() string {
	switch {
	case a.IsUnix():
		return "unix:" + a.Path
	case a.IP.IsValid():
		return netip.AddrPortFrom(a.IP, a.Port).String()
	}
	return a.Host + ":" + strconv.Itoa(int(a.Port))
}

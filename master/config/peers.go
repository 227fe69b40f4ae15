package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// A PeerSet is a set of peers as an address rule names them, in one of the forms
//
//	10.0.0.0/8  192.0.2.1  2001:db8::/32   IP prefixes; an address is a prefix of its own
//	unix  gid:100  gid:staff  uid:1000  uid:joe   peers of unix sockets
//
// Two sets are equal (==) when they hold the same peers, but for names of users
// and groups, which stand for their numbers only when they are looked up.
type PeerSet struct {
	// Prefix is masked and never v4-mapped; it is zero for peers of unix sockets.
	Prefix netip.Prefix
	// Unix says which peers of unix sockets are meant when Prefix is zero.
	Unix UnixPeers
	// Account is the number or name behind uid: and gid:.
	Account string
}

// UnixPeers tells the kinds of sets of unix peers apart.
type UnixPeers string

// The kinds of sets of unix peers, from the least to the most specific.
const (
	UnixAll UnixPeers = "unix"
	UnixGID UnixPeers = "gid"
	UnixUID UnixPeers = "uid"
)

// ParsePeerSet parses one of the forms above.
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

// isAccountName reports whether s can be the number or name of a user or
// group, by the characters that useradd(8) lets names have.
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

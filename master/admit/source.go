package admit

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// A Peer is who wants to connect: an IP address, or a user and a group at a
// unix socket.
type Peer struct {
	Addr     netip.Addr // invalid for a unix peer
	UID, GID uint32     // of a unix peer
}

// IsUnix reports whether the peer has connected over a unix socket.
func (p Peer) IsUnix() bool { return !p.Addr.IsValid() }

// unmapped returns the peer with its address in the form that rules and sources
// use. A v4-mapped address becomes v4, and the zone is removed.
func (p Peer) unmapped() Peer {
	p.Addr = p.Addr.Unmap().WithZone("")
	return p
}

// A Source is what counts as one client. It is a network prefix, because a host
// may use any address of its IPv6 subnet, or a user at a unix socket. A gate
// may keep a million sources, so a Source is a key of 24 bytes without
// pointers.
type Source struct {
	high, low uint64 // the masked address in 16 bytes, or the uid
	kind      uint64 // sourceV4, sourceV6 or sourceUnix, and the prefix length
}

const (
	sourceUnix = iota << 8
	sourceV4
	sourceV6
)

// SourceOf returns the source of a peer, for these prefix lengths in bits. A
// v4-mapped address counts as v4. A zone is ignored. The lengths must be valid
// for their address families.
func SourceOf(p Peer, v4bits, v6bits int) Source {
	if p.IsUnix() {
		return Source{low: uint64(p.UID), kind: sourceUnix}
	}
	addr := p.unmapped().Addr
	bits, kind := v6bits, uint64(sourceV6)
	if addr.Is4() {
		bits, kind = v4bits, sourceV4
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		panic("admit: " + err.Error())
	}
	bytes := prefix.Addr().As16()
	return Source{binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:]), kind | uint64(bits)}
}

// peer returns a peer of the source, and the source's prefix length.
func (s Source) peer() (p Peer, bits int) {
	if s.kind == sourceUnix {
		return Peer{UID: uint32(s.low)}, 0
	}
	var bytes [16]byte
	binary.BigEndian.PutUint64(bytes[:8], s.high)
	binary.BigEndian.PutUint64(bytes[8:], s.low)
	addr := netip.AddrFrom16(bytes)
	if s.kind&^0xff == sourceV4 {
		addr = addr.Unmap()
	}
	return Peer{Addr: addr}, int(s.kind & 0xff)
}

// Within returns the source with its prefix cut to these lengths. A source
// whose prefix is not longer stays as it is.
func (s Source) Within(v4bits, v6bits int) Source {
	p, bits := s.peer()
	if p.IsUnix() {
		return s
	}
	if p.Addr.Is4() {
		v6bits, v4bits = v4bits, min(v4bits, bits)
	} else {
		v6bits = min(v6bits, bits)
	}
	return SourceOf(p, v4bits, v6bits)
}

// String returns the source as the log shows it: "192.0.2.1/32",
// "2001:db8::/64" or "unix:uid=1000".
func (s Source) String() string {
	p, bits := s.peer()
	if p.IsUnix() {
		return "unix:uid=" + strconv.FormatUint(uint64(p.UID), 10)
	}
	return netip.PrefixFrom(p.Addr, bits).String()
}

package admit

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// A Peer is who asks for a connection: an IP address or, at a unix socket, a
// user and a group.
type Peer struct {
	Addr     netip.Addr // invalid for a unix peer
	UID, GID uint32     // of a unix peer
}

// IsUnix reports whether the peer came over a unix socket.
func (p Peer) IsUnix() bool { return !p.Addr.IsValid() }

// unmapped returns the peer with its address as rules and sources have it: a
// v4-mapped one as v4, and without a zone.
func (p Peer) unmapped() Peer {
	p.Addr = p.Addr.Unmap().WithZone("")
	return p
}

// A Source is what counts as one client: a network prefix, since a single host
// may use any address of its IPv6 subnet, or a user at a unix socket. Sources
// are kept by the million, so it is a key of 24 bytes without pointers.
type Source struct {
	high, low uint64 // the masked address in 16 bytes, or the uid
	kind      uint64 // sourceV4, sourceV6 or sourceUnix, and the prefix length
}

const (
	sourceUnix = iota << 8
	sourceV4
	sourceV6
)

// SourceOf returns the source that a peer belongs to, with prefix lengths in
// bits. A v4-mapped address counts as v4; a zone does not matter. The lengths
// must be valid for their families.
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

// peer returns a peer of the source, and the prefix length that makes it one.
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

// Within returns the source, or the longer one that it is part of when its
// prefix has more bits than these.
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

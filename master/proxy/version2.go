package proxy

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// The commands of version 2. The upper four bits are the version (section 2.2).
const (
	commandLocal = 0x20
	commandProxy = 0x21
)

// checkCommand checks byte 12 of a header, its version and command.
func checkCommand(b byte) error {
	switch {
	case b>>4 != 2:
		return fmt.Errorf("%w: version %d", ErrMalformed, b>>4)
	case b != commandLocal && b != commandProxy:
		return fmt.Errorf("%w: command %d", ErrMalformed, b&0xf)
	}
	return nil
}

// The families and protocols of version 2, and how long the addresses of each are.
const (
	familyUnspecified = 0x00
	familyTCPv4       = 0x11
	familyTCPv6       = 0x21
)

var addressLengths = map[byte]int{
	familyUnspecified: 0,
	familyTCPv4:       2*4 + 2*2,
	0x12:              2*4 + 2*2, // UDP over IPv4
	familyTCPv6:       2*16 + 2*2,
	0x22:              2*16 + 2*2, // UDP over IPv6
	0x31:              2 * 108,    // a unix stream
	0x32:              2 * 108,    // unix datagrams
}

// checkFamily checks the family and the length in the fixed part of a header, so
// that nobody waits for a rest that is of no use. For the proxy's own connections
// the length need not be that of the family (section 2.2).
func checkFamily(fixed []byte) error {
	family, rest := fixed[13], int(binary.BigEndian.Uint16(fixed[14:]))
	addresses, known := addressLengths[family]
	switch {
	case !known:
		return fmt.Errorf("%w: family and protocol 0x%02x", ErrMalformed, family)
	case fixed[12] == commandProxy && rest < addresses:
		return fmt.Errorf("%w: %d bytes for the addresses of family 0x%02x, which take %d", ErrMalformed, rest, family, addresses)
	}
	return nil
}

// parseV2 parses a complete header of version 2, which Length has checked.
//
// The command PROXY with the family UNSPEC leaves the choice to the receiver: it
// may use the ends of the socket or refuse. The proxy is trusted and only says
// that it has no address, so its connection is taken.
func parseV2(header []byte) (Header, error) {
	family := header[13]
	own := header[12] == commandLocal || family == familyUnspecified
	rest := header[fixedV2:]
	checksum, err := findChecksum(header, fixedV2+min(addressLengths[family], len(rest)))
	switch {
	case err != nil && own:
		// The receiver must skip what comes with the proxy's own connections,
		// whatever it is.
	case err != nil:
		return Header{}, err
	case checksum != 0:
		if err := verify(header, checksum); err != nil {
			return Header{}, err
		}
	}
	switch {
	case own:
		return Header{Own: true}, nil
	case family == familyTCPv4:
		return Header{Peer: v4(rest[0:4], rest[8:]), Local: v4(rest[4:8], rest[10:])}, nil
	case family == familyTCPv6:
		return Header{Peer: v6(rest[0:16], rest[32:]), Local: v6(rest[16:32], rest[34:])}, nil
	}
	return Header{Own: true}, nil
}

func v4(address, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(address)), binary.BigEndian.Uint16(port))
}

func v6(address, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(address)).Unmap(), binary.BigEndian.Uint16(port))
}

// An extension is a type of one byte, a length of two, and as many bytes
// (section 2.2).
const (
	extensionHead  = 3
	typeCRC32C     = 0x03
	checksumLength = 4
)

// findChecksum returns where the value of the extension PP2_TYPE_CRC32C is in a
// header, 0 if there is none. It walks through all extensions, from the given
// byte on, and reports those that do not fit.
func findChecksum(header []byte, from int) (checksum int, err error) {
	for from < len(header) {
		left := header[from:]
		if len(left) < extensionHead {
			return 0, fmt.Errorf("%w: %d bytes after the last extension: %s", ErrMalformed, len(left), quote(left))
		}
		kind, length := left[0], int(binary.BigEndian.Uint16(left[1:]))
		if length > len(left)-extensionHead {
			return 0, fmt.Errorf("%w: extension 0x%02x of %d bytes, and the header has %d left", ErrMalformed, kind, length, len(left)-extensionHead)
		}
		if kind == typeCRC32C {
			switch {
			case length != checksumLength:
				return 0, fmt.Errorf("%w: a checksum of %d bytes", ErrMalformed, length)
			case checksum != 0:
				return 0, fmt.Errorf("%w: two checksums", ErrMalformed)
			}
			checksum = from + extensionHead
		}
		from += extensionHead + length
	}
	return checksum, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// verify checks the checksum of a header, whose four bytes are at the given place
// and count as zeros (section 2.2.3). A receiver that knows checksums must treat a
// connection with a wrong one as invalid.
func verify(header []byte, at int) error {
	var zeros [checksumLength]byte
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, zeros[:])
	sum = crc32.Update(sum, castagnoli, header[at+checksumLength:])
	if said := binary.BigEndian.Uint32(header[at:]); said != sum {
		return fmt.Errorf("%w: its checksum is 0x%08x, and it says 0x%08x", ErrMalformed, sum, said)
	}
	return nil
}

package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

var (
	// ErrMissing reports that what came is no header.
	ErrMissing = errors.New("no PROXY header")
	// ErrMalformed reports a header that breaks the specification.
	ErrMalformed = errors.New("malformed PROXY header")
	// ErrOversized reports a header that is larger than MaxHeader.
	ErrOversized = errors.New("oversized PROXY header")
)

const (
	// maxV1 is the longest line of version 1 with its CRLF: section 2.1 of the
	// specification works out 107 characters and a NUL.
	maxV1 = 107
	// fixedV2 is what a header of version 2 always has; the last two bytes
	// say how long the rest is (section 2.2).
	fixedV2 = 16
	// maxV2Rest bounds that rest. Addresses take 216 bytes at most, TLVs such
	// as a client certificate a few kilobytes more; nothing in the protocol
	// needs the 64 KiB that it could express.
	maxV2Rest = 4096

	// MaxHeader is the size of the largest header, in bytes.
	MaxHeader = fixedV2 + maxV2Rest
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// A Header says between whom a connection is that a proxy passes on.
type Header struct {
	// Own says that the connection is the proxy's own, or that it does not
	// know for whom it is: the socket's two ends are what counts. It is set
	// for the command LOCAL, for UNKNOWN and UNSPEC, and for what is neither
	// TCP over IPv4 nor over IPv6, whose addresses mean nothing here (section
	// 2.2: the receiver must then use the real connection's).
	Own bool
	// Peer is the client, Local the address that it connected to; v4-mapped
	// addresses are given as v4. Both are zero with Own.
	Peer, Local netip.AddrPort
}

// Length returns how many bytes the header has that data begins with, or 0 when
// data is only the beginning of one.
func Length(data []byte) (int, error) {
	switch {
	case begins(data, signatureV1):
		window := data[:min(len(data), maxV1)]
		if i := bytes.Index(window, []byte("\r\n")); i >= 0 {
			return i + 2, nil
		}
		if len(window) == maxV1 {
			return 0, fmt.Errorf("%w: no end of line within %d bytes", ErrOversized, maxV1)
		}
		return 0, nil
	case begins(data, signatureV2):
		if len(data) > len(signatureV2) && data[12]>>4 != 2 {
			return 0, fmt.Errorf("%w: version %d", ErrMalformed, data[12]>>4)
		}
		if len(data) < fixedV2 {
			return 0, nil
		}
		rest := int(binary.BigEndian.Uint16(data[14:]))
		if rest > maxV2Rest {
			return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrOversized, fixedV2+rest, MaxHeader)
		}
		if len(data) < fixedV2+rest {
			return 0, nil
		}
		return fixedV2 + rest, nil
	}
	return 0, ErrMissing
}

// begins reports whether data begins with the signature, or may once there is
// more of it.
func begins(data, signature []byte) bool {
	n := min(len(data), len(signature))
	return bytes.Equal(data[:n], signature[:n])
}

// Parse parses a whole header, as long as Length says. Errors wrap ErrMalformed.
func Parse(header []byte) (Header, error) {
	if begins(header, signatureV2) && header[12] == 0x21 && header[13] == 0 {
		// PROXY for UNSPEC: "the receiver is free to accept the connection
		// anyway and use the real endpoint addresses or to reject it". The
		// parser below rejects it, but the proxy is believed and says only
		// that it has no address to give.
		return Header{Own: true}, nil
	}
	r := bufio.NewReaderSize(bytes.NewReader(header), max(len(header), 16))
	h, err := proxyproto.Read(r)
	if err != nil {
		return Header{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() ||
		h.TransportProtocol != proxyproto.TCPv4 && h.TransportProtocol != proxyproto.TCPv6 {
		return Header{Own: true}, nil
	}
	peer, ok := addrPort(h.SourceAddr)
	local, ok2 := addrPort(h.DestinationAddr)
	if !ok || !ok2 {
		return Header{}, fmt.Errorf("%w: addresses %v and %v", ErrMalformed, h.SourceAddr, h.DestinationAddr)
	}
	return Header{Peer: peer, Local: local}, nil
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice(tcp.IP)
	if !ok || tcp.Port < 0 || tcp.Port > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(tcp.Port)), true
}

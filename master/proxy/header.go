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
	// ErrMissing reports that the connection does not start with a header.
	ErrMissing = errors.New("no PROXY header")
	// ErrMalformed reports a header that violates the specification.
	ErrMalformed = errors.New("malformed PROXY header")
	// ErrOversized reports a header that is larger than MaxHeader.
	ErrOversized = errors.New("oversized PROXY header")
)

const (
	// maxV1 is the longest line of version 1 with its CRLF. Section 2.1 of the
	// specification calculates 107 characters and a NUL.
	maxV1 = 107
	// fixedV2 is the size of the fixed part of a version 2 header. Its last two
	// bytes are the length of the rest (section 2.2).
	fixedV2 = 16
	// maxV2Rest is the maximum length of the rest. Addresses take up to 216
	// bytes, and TLVs such as a client certificate take a few kilobytes.
	// Nothing in the protocol needs the 64 KiB that the length field allows.
	maxV2Rest = 4096

	// MaxHeader is the size of the largest header, in bytes.
	MaxHeader = fixedV2 + maxV2Rest
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// A Header holds the two ends of a connection that a proxy passes on.
type Header struct {
	// Own says that the connection is the proxy's own, or that the proxy does
	// not know the client. Then the two ends of the socket apply. Own is set
	// for the command LOCAL, and for UNKNOWN and UNSPEC. It is also set for
	// protocols other than TCP over IPv4 or IPv6, whose addresses have no
	// meaning here. The receiver must then use those of the real connection
	// (section 2.2).
	Own bool
	// Peer is the client, and Local the address to which it has connected. A
	// v4-mapped address is given as v4. Both are zero if Own is set.
	Peer, Local netip.AddrPort
}

// Length returns the length of the header at the start of data. It returns 0 if
// data ends before the end of the header.
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

// begins reports whether data begins with the signature, or is shorter and may
// become that.
func begins(data, signature []byte) bool {
	n := min(len(data), len(signature))
	return bytes.Equal(data[:n], signature[:n])
}

// Parse parses a complete header, whose length Length has returned. Errors wrap
// ErrMalformed.
func Parse(header []byte) (Header, error) {
	if begins(header, signatureV2) && header[12] == 0x21 && header[13] == 0 {
		// This is PROXY with UNSPEC: "the receiver is free to accept the
		// connection anyway and use the real endpoint addresses or to reject
		// it". The parser below rejects it. But the proxy is trusted, and it
		// only says that it has no address.
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

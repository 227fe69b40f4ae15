package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pires/go-proxyproto"
)

var (
	// ErrMissing reports that the connection does not start with a header.
	ErrMissing = errors.New("no PROXY header")
	// ErrMalformed reports a header that violates the specification.
	ErrMalformed = errors.New("malformed PROXY header")
	// ErrOversized reports a line of version 1 that is longer than maxV1.
	ErrOversized = errors.New("oversized PROXY header")
)

const (
	// maxV1 is the longest line of version 1 with its CRLF. Section 2.1 of the
	// specification calculates 107 characters and a NUL.
	maxV1 = 107
	// fixedV2 is the size of the fixed part of a version 2 header. Its last two
	// bytes are the length of the rest (section 2.2).
	fixedV2 = 16
	// maxV2Rest is the largest length that these two bytes can say. Addresses
	// take up to 216 bytes. The rest is for extensions, such as the certificate
	// of a client.
	maxV2Rest = 1<<16 - 1

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
// data is too short to tell. A header of version 1 is complete when its length is
// known. One of version 2 may be longer than data.
//
// Errors wrap ErrMissing, ErrMalformed or ErrOversized. They may quote data, in a
// form that is harmless in a log and on a terminal.
func Length(data []byte) (int, error) {
	switch {
	case begins(data, signatureV1):
		window := data[:min(len(data), maxV1)]
		if i := bytes.Index(window, []byte("\r\n")); i >= 0 {
			return i + 2, nil
		}
		if len(window) == maxV1 {
			return 0, fmt.Errorf("%w: no end of line within %d bytes: %s", ErrOversized, maxV1, quote(window))
		}
		return 0, nil
	case begins(data, signatureV2):
		if len(data) > len(signatureV2) {
			if err := checkCommand(data[12]); err != nil {
				return 0, err
			}
		}
		if len(data) < fixedV2 {
			return 0, nil
		}
		if err := checkFamily(data); err != nil {
			return 0, err
		}
		return fixedV2 + int(binary.BigEndian.Uint16(data[14:])), nil
	}
	return 0, fmt.Errorf("%w: the connection begins with %s", ErrMissing, quote(data))
}

// quote returns the start of what a peer has sent, with escapes for everything
// but printable ASCII characters.
func quote(data []byte) string {
	const most = 64
	if len(data) <= most {
		return strconv.QuoteToASCII(string(data))
	}
	return strconv.QuoteToASCII(string(data[:most])) + "..."
}

// begins reports whether data begins with the signature, or is shorter and may
// become that.
func begins(data, signature []byte) bool {
	n := min(len(data), len(signature))
	return bytes.Equal(data[:n], signature[:n])
}

// Parse parses a complete header, whose length Length has returned. Errors wrap
// ErrMalformed. They may quote the header like those of Length.
func Parse(header []byte) (Header, error) {
	if begins(header, signatureV2) {
		return parseV2(header)
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), max(len(header), 16)))
	if err != nil {
		return Header{}, fmt.Errorf("%w: %s: %s", ErrMalformed, strings.TrimPrefix(err.Error(), "proxyproto: "), quote(header))
	}
	if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() {
		return Header{Own: true}, nil
	}
	peer, ok := addrPort(h.SourceAddr)
	local, ok2 := addrPort(h.DestinationAddr)
	if !ok || !ok2 {
		return Header{}, fmt.Errorf("%w: no addresses: %s", ErrMalformed, quote(header))
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

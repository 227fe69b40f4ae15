package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// made returns a header made by another implementation.
func made(t testing.TB, version byte, command proxyproto.ProtocolVersionAndCommand, transport proxyproto.AddressFamilyAndProtocol, peer, local string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := &proxyproto.Header{Version: version, Command: command, TransportProtocol: transport}
	if peer != "" {
		h.SourceAddr, h.DestinationAddr = net.TCPAddrFromAddrPort(ap(peer)), net.TCPAddrFromAddrPort(ap(local))
	}
	if len(tlvs) > 0 {
		if err := h.SetTLVs(tlvs); err != nil {
			t.Fatal(err)
		}
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func v2(command, family byte, rest string) string {
	head := append([]byte(signatureV2), command, family, 0, 0)
	binary.BigEndian.PutUint16(head[14:], uint16(len(rest)))
	return string(head) + rest
}

// tlv returns an extension of version 2.
func tlv(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

// summed returns a header of version 2 with a right checksum behind all else.
func summed(command, family byte, rest string) string {
	header := v2(command, family, rest+tlv(typeCRC32C, "\x00\x00\x00\x00"))
	return string(checksummed(header, len(header)-4))
}

// checksummed puts a header's checksum, computed bit by bit as in RFC 3720
// (appendix B.4), where it has four zeros.
func checksummed(header string, at int) []byte {
	sum := ^uint32(0)
	for _, b := range []byte(header) {
		sum ^= uint32(b)
		for range 8 {
			sum = sum>>1 ^ 0x82f63b78*(sum&1)
		}
	}
	made := []byte(header)
	binary.BigEndian.PutUint32(made[at:], ^sum)
	return made
}

func TestHeaders(t *testing.T) {
	const proxyCommand, localCommand = proxyproto.PROXY, proxyproto.LOCAL
	v4 := Header{Peer: ap("192.0.2.1:40000"), Local: ap("198.51.100.7:443")}
	v6 := Header{Peer: ap("[2001:db8::1]:40000"), Local: ap("[2001:db8::2]:443")}
	own := Header{Own: true}
	const v4Addresses = "\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb"
	wrong := []byte(summed(0x21, 0x11, v4Addresses+tlv(0xE0, "x")))
	wrong[16] ^= 1
	big := proxyproto.TLV{Type: 0xE0, Value: bytes.Repeat([]byte("x"), 3000)}
	for name, c := range map[string]struct {
		text string
		want Header
		err  error
	}{
		"v1 over v4":            {string(made(t, 1, proxyCommand, proxyproto.TCPv4, "192.0.2.1:40000", "198.51.100.7:443")), v4, nil},
		"v1 over v6":            {string(made(t, 1, proxyCommand, proxyproto.TCPv6, "[2001:db8::1]:40000", "[2001:db8::2]:443")), v6, nil},
		"v2 over v4":            {string(made(t, 2, proxyCommand, proxyproto.TCPv4, "192.0.2.1:40000", "198.51.100.7:443")), v4, nil},
		"v2 over v6":            {string(made(t, 2, proxyCommand, proxyproto.TCPv6, "[2001:db8::1]:40000", "[2001:db8::2]:443")), v6, nil},
		"v2 with extensions":    {string(made(t, 2, proxyCommand, proxyproto.TCPv4, "192.0.2.1:40000", "198.51.100.7:443", proxyproto.TLV{Type: 1, Value: []byte("h2")}, big)), v4, nil},
		"v2 with a certificate": {v2(0x21, 0x11, v4Addresses+tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x28, strings.Repeat("c", 9000)))), v4, nil},
		"v2 longest":            {v2(0x21, 0x11, v4Addresses+tlv(0xE0, strings.Repeat("x", maxV2Rest-12-3))), v4, nil},
		"v2 longest, checksum":  {summed(0x21, 0x11, v4Addresses+tlv(0xE0, strings.Repeat("x", maxV2Rest-12-3-7))), v4, nil},
		"v2, checksum":          {summed(0x21, 0x11, v4Addresses), v4, nil},
		"v2, checksum in front": {string(checksummed(v2(0x21, 0x11, v4Addresses+tlv(3, "\x00\x00\x00\x00")+tlv(4, "")+tlv(0xE0, "x")), 16+12+3)), v4, nil},
		"v2 v6, checksum":       {summed(0x21, 0x21, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x02\x9c\x40\x01\xbb"), v6, nil},
		"v2 local, checksum":    {summed(0x20, 0x00, ""), own, nil},
		"v2 local, longest":     {v2(0x20, 0x00, tlv(0xE0, strings.Repeat("x", maxV2Rest-3))), own, nil},
		"v2 local, cut":         {v2(0x20, 0x11, "short"), own, nil},
		"v2 local, nonsense":    {v2(0x20, 0x11, v4Addresses+"\xe0\xff"), own, nil},
		"v2 unix, longest":      {v2(0x21, 0x31, strings.Repeat("\x00", 216)+tlv(0xE0, strings.Repeat("x", maxV2Rest-216-3))), own, nil},
		"v2 local":              {string(made(t, 2, localCommand, proxyproto.UNSPEC, "", "")), own, nil},
		"v2 local, addresses":   {string(made(t, 2, localCommand, proxyproto.TCPv4, "192.0.2.1:40000", "198.51.100.7:443")), own, nil},
		"v2 unspecified":        {v2(0x21, 0x00, "whatever"), own, nil},
		"v2 datagrams":          {v2(0x21, 0x12, "\xc0\x00\x02\x01\xc0\x00\x02\x02\x01\x02\x03\x04"), own, nil},
		"v2 unix":               {v2(0x21, 0x31, strings.Repeat("\x00", 216)), own, nil},
		"v2 mapped":             {v2(0x21, 0x21, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x02\x9c\x40\x01\xbb"), Header{Peer: ap("192.0.2.1:40000"), Local: ap("192.0.2.2:443")}, nil},
		"v1 unknown":            {"PROXY UNKNOWN\r\n", own, nil},
		"v1 unknown, and more":  {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", own, nil},
		"v1 longest":            {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", Header{Peer: ap("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"), Local: ap("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")}, nil},

		"nothing of the kind":       {"GET / HTTP/1.0\r\n\r\n", own, ErrMissing},
		"almost v1":                 {"PROXYTCP4", own, ErrMissing},
		"lower case":                {"proxy TCP4 ", own, ErrMissing},
		"almost v2":                 {"\r\n\r\n\x00\r\nQUIX\n", own, ErrMissing},
		"v1 of no family":           {"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", own, ErrMalformed},
		"v1 without ports":          {"PROXY TCP4 1.2.3.4 1.2.3.4\r\n", own, ErrMalformed},
		"v1 with a bad address":     {"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n", own, ErrMalformed},
		"v1 of the other family":    {"PROXY TCP4 ::1 ::1 1 2\r\n", own, ErrMalformed},
		"v1 with a bad port":        {"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", own, ErrMalformed},
		"v1 without an end of line": {"PROXY TCP4 " + strings.Repeat("1", 97), own, ErrOversized},
		"v1 too long by one":        {"PROXY UNKNOWN" + strings.Repeat(" ", 93) + "\r\n", own, ErrOversized},
		"v2 of another version":     {v2(0x31, 0x11, strings.Repeat("x", 12)), own, ErrMalformed},
		"v2 of another command":     {v2(0x22, 0x11, strings.Repeat("x", 12)), own, ErrMalformed},
		"v2 with short addresses":   {v2(0x21, 0x11, strings.Repeat("x", 11)), own, ErrMalformed},
		"v2 of no family":           {v2(0x21, 0x13, v4Addresses), own, ErrMalformed},
		"v2 local of no family":     {v2(0x20, 0x41, v4Addresses), own, ErrMalformed},
		"v2 with short v6":          {v2(0x21, 0x21, strings.Repeat("x", 35)), own, ErrMalformed},
		"v2 with short unix":        {v2(0x21, 0x31, strings.Repeat("x", 215)), own, ErrMalformed},
		"v2, extension cut":         {v2(0x21, 0x11, v4Addresses+"\xe0\x00"), own, ErrMalformed},
		"v2, extension too long":    {v2(0x21, 0x11, v4Addresses+"\xe0\x00\x02x"), own, ErrMalformed},
		"v2 unix, extension cut":    {v2(0x21, 0x31, strings.Repeat("\x00", 216)+"\xe0\x00"), own, ErrMalformed},
		"v2, wrong checksum":        {string(wrong), own, ErrMalformed},
		"v2, long, wrong checksum":  {v2(0x21, 0x11, v4Addresses+tlv(0xE0, strings.Repeat("x", 60000))+tlv(3, "\x01\x02\x03\x04")), own, ErrMalformed},
		"v2 local, wrong checksum":  {v2(0x20, 0x00, tlv(3, "\x01\x02\x03\x04")), own, ErrMalformed},
		"v2 UDP, wrong checksum":    {v2(0x21, 0x12, v4Addresses+tlv(3, "\x01\x02\x03\x04")), own, ErrMalformed},
		"v2, short checksum":        {v2(0x21, 0x11, v4Addresses+tlv(3, "\x01\x02\x03")), own, ErrMalformed},
		"v2, two checksums":         {summed(0x21, 0x11, v4Addresses+tlv(3, "\x01\x02\x03\x04")), own, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			const rest = "the handler's\r\n"
			n, err := Length([]byte(c.text + rest))
			var h Header
			if err == nil {
				if n != len(c.text) {
					t.Fatalf("length %d, want %d", n, len(c.text))
				}
				h, err = Parse([]byte(c.text))
			}
			if !errors.Is(err, c.err) || err == nil && h != c.want {
				t.Errorf("got %+v, %v; want %+v, %v", h, err, c.want, c.err)
			}
			for cut := range min(len(c.text), 1000) { // the beginning of a header is never its end
				if n, err := Length([]byte(c.text[:cut])); n != 0 && (cut < fixedV2 || n != len(c.text)) || err != nil && !errors.Is(err, c.err) || err != nil && c.err == nil {
					t.Fatalf("first %d bytes: %d, %v", cut, n, err)
				}
			}

			// The same header comes through a socket, in pieces.
			for _, size := range []int{1, 7, 1000, len(c.text) + len(rest)} {
				if size < 1000 && len(c.text) > 300 {
					continue
				}
				ours, theirs := pair(t)
				go func() {
					for text := c.text + rest; text != ""; {
						n := min(size, len(text))
						if _, err := io.WriteString(theirs, text[:n]); err != nil {
							return
						}
						text = text[n:]
					}
					theirs.CloseWrite()
				}()
				budget := NewBudget(MaxHeader)
				r, err := NewReader(ours, budget)
				if err != nil {
					t.Fatal(err)
				}
				h, err := r.Read(time.Now().Add(slowtest.Scale(time.Minute)))
				if !errors.Is(err, c.err) || err == nil && h != c.want {
					t.Errorf("in pieces of %d: got %+v, %v; want %+v, %v", size, h, err, c.want, c.err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				if used := budget.used.Load(); used != 0 {
					t.Errorf("%d bytes of the budget are not given back", used)
				}
				flags, flagsErr := unix.FcntlInt(uintptr(ours), unix.F_GETFL, 0)
				if flagsErr != nil || flags&unix.O_NONBLOCK != 0 {
					t.Errorf("flags %#x, %v: not in blocking mode", flags, flagsErr)
				}
				if err != nil {
					continue
				}
				file := os.NewFile(uintptr(ours), "connection")
				if got, err := io.ReadAll(file); string(got) != rest || err != nil {
					t.Errorf("in pieces of %d: the handler reads %q, %v; want %q", size, got, err, rest)
				}
				file.Close()
			}
		})
	}
}

// pair returns a connected socket as a descriptor in blocking mode, and its
// peer.
func pair(t *testing.T) (int, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if err := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(fd, false)
	t.Cleanup(func() { theirs.Close() })
	return fd, theirs.(*net.TCPConn)
}

func TestHeaderThatDoesNotCome(t *testing.T) {
	for name, c := range map[string]struct {
		sent   string
		then   func(*net.TCPConn, *Reader)
		within time.Duration
		want   error
	}{
		"silence":             {"", nil, time.Millisecond, ErrTimeout},
		"half":                {"PROXY TCP4 ", nil, time.Millisecond, ErrTimeout},
		"closed":              {"", func(c *net.TCPConn, _ *Reader) { c.Close() }, time.Minute, ErrMissing},
		"closed half-way":     {"PROXY TCP4 ", func(c *net.TCPConn, _ *Reader) { c.Close() }, time.Minute, ErrMalformed},
		"half-closed":         {"\r\n\r\n", func(c *net.TCPConn, _ *Reader) { c.CloseWrite() }, time.Minute, ErrMalformed},
		"reset":               {"", func(c *net.TCPConn, _ *Reader) { c.SetLinger(0); c.Close() }, time.Minute, ErrMissing},
		"canceled":            {"PROXY ", func(_ *net.TCPConn, r *Reader) { r.Cancel() }, time.Minute, ErrCanceled},
		"a long one, no more": {v2(0x21, 0x11, strings.Repeat("x", 2000))[:1000], func(c *net.TCPConn, _ *Reader) { c.CloseWrite() }, time.Minute, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			defer unix.Close(ours)
			r, err := NewReader(ours, NewBudget(0))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.WriteString(theirs, c.sent); err != nil {
				t.Fatal(err)
			}
			if c.then != nil {
				go c.then(theirs, r)
			}
			if h, err := r.Read(time.Now().Add(c.within)); !errors.Is(err, c.want) {
				t.Errorf("got %+v, %v; want %v", h, err, c.want)
			}
		})
	}
}

// Short headers come through however much the long ones take, and memory is taken
// for what has come, not for what a header announces.
func TestBudget(t *testing.T) {
	long := v2(0x21, 0x11, strings.Repeat("\x00", 12)+tlv(0xE0, strings.Repeat("x", 60000)))
	budget := NewBudget(10000)
	read := func(text string) (chan error, *net.TCPConn, *Reader) {
		ours, theirs := pair(t)
		t.Cleanup(func() { unix.Close(ours) })
		r, err := NewReader(ours, budget)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if _, err := io.WriteString(theirs, text); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, err := r.Read(time.Now().Add(slowtest.Scale(time.Minute)))
			result <- err
		}()
		return result, theirs, r
	}
	_, _, announcing := read(long[:100])
	slow, rest, _ := read(long[:5000])
	for budget.used.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if used := budget.used.Load(); used != freeBuffer {
		t.Errorf("%d bytes for one header of which 5,000 bytes have come", used)
	}
	tooLong, _, _ := read(long[:20000])
	if err := <-tooLong; !errors.Is(err, ErrNoMemory) {
		t.Errorf("a header beyond the budget: %v", err)
	}
	short, _, _ := read(v2(0x21, 0x11, strings.Repeat("\x00", 12)+tlv(0xE0, strings.Repeat("x", 4000))))
	if err := <-short; err != nil {
		t.Errorf("a short header: %v", err)
	}
	rest.Close()
	if err := <-slow; !errors.Is(err, ErrMalformed) {
		t.Errorf("a header that was cut short: %v", err)
	}
	if used := budget.used.Load(); used != 0 {
		t.Errorf("%d bytes of the budget are not given back", used)
	}
	announcing.Cancel()
}

// What an error quotes is harmless in a log and on a terminal, and short.
func TestErrorsQuoteHarmlessly(t *testing.T) {
	for _, text := range []string{
		"\x1b[2J\x1b]0;title\a\xff\u202e\r\n" + strings.Repeat("x", 1000),
		"PROXY TCP4 \x1b[2J\u202e 1 2 3\r\n",
		"PROXY " + strings.Repeat("\x1b", 200),
		"PROXY TCP4 1.2.3.4 \"1.2.3.5\" 1 2\n\r\n",
	} {
		n, err := Length([]byte(text))
		if err == nil {
			_, err = Parse([]byte(text[:n]))
		}
		if err == nil {
			t.Errorf("%q is a header", text)
			continue
		}
		for _, r := range err.Error() {
			if r < ' ' || r > '~' {
				t.Errorf("%q: the error has %q", text, r)
			}
		}
		if n := len(err.Error()); n > 400 {
			t.Errorf("%q: an error of %d bytes", text, n)
		}
	}
}

// Whatever comes, there is no panic. A header is not longer than MaxHeader, and one
// of version 1 not longer than the data. What this package takes for a header of
// version 2 with addresses, another implementation takes for one with the same
// addresses.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2(0x21, 0x11, "\xc0\x00\x02\x01\xc0\x00\x02\x02\x01\x02\x03\x04") + "rest"))
	f.Add([]byte(v2(0x20, 0x00, "")))
	f.Add([]byte(v2(0x21, 0x21, strings.Repeat("x", 40))))
	f.Add([]byte(summed(0x21, 0x11, strings.Repeat("x", 12)+tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x28, "certificate")))))
	f.Add([]byte(summed(0x20, 0x31, strings.Repeat("x", 216))))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Length(data)
		if n < 0 || n > MaxHeader || err != nil && n != 0 || n > len(data) && !bytes.HasPrefix(data, signatureV2) {
			t.Fatalf("length %d of %d bytes, %v", n, len(data), err)
		}
		if n == 0 || n > len(data) {
			return
		}
		h, err := Parse(data[:n])
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if h.Own == (h.Peer.IsValid() || h.Local.IsValid()) || h.Peer.Addr().Is4In6() {
			t.Fatalf("%+v", h)
		}
		if h.Own || n > int(proxyproto.MaxV2HeaderSize) {
			return
		}
		other, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(data[:n]), max(n, 16)))
		if err != nil {
			t.Fatalf("the other implementation: %v", err)
		}
		peer, _ := addrPort(other.SourceAddr)
		local, _ := addrPort(other.DestinationAddr)
		if peer != h.Peer || local != h.Local {
			t.Fatalf("%+v, and the other implementation has %v and %v", h, peer, local)
		}
	})
}

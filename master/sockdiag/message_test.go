package sockdiag

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// message makes a message of an answer.
func message(kind uint16, sequence uint32, payload []byte) []byte {
	m := makeMessage(sequence, 0, payload)
	host.PutUint16(m[4:], kind)
	return append(m, make([]byte, align(len(m))-len(m))...)
}

func errorPayload(number int32) []byte { return host.AppendUint32(nil, uint32(-number)) }

func TestParse(t *testing.T) {
	socket := make([]byte, 72)
	for name, test := range map[string]struct {
		datagram []byte
		sockets  int
		done     bool
		err      bool
	}{
		"nothing":             {},
		"two sockets":         {append(message(unix.SOCK_DIAG_BY_FAMILY, 5, socket), message(unix.SOCK_DIAG_BY_FAMILY, 5, socket)...), 2, false, false},
		"the end":             {message(unix.NLMSG_DONE, 5, errorPayload(0)), 0, true, false},
		"an end of few words": {message(unix.NLMSG_DONE, 5, nil), 0, true, false},
		"an end in failure":   {message(unix.NLMSG_DONE, 5, errorPayload(int32(unix.ENOMEM))), 0, true, true},
		"no module":           {message(unix.NLMSG_ERROR, 5, errorPayload(int32(unix.ENOENT))), 0, true, true},
		"another answer":      {message(unix.SOCK_DIAG_BY_FAMILY, 4, socket), 0, false, false},
		"another's end":       {message(unix.NLMSG_DONE, 4, nil), 0, false, false},
		"half a header":       {make([]byte, 8), 0, false, true},
		"no length":           {make([]byte, 16), 0, false, true},
		"too long":            {message(unix.SOCK_DIAG_BY_FAMILY, 5, socket)[:80], 0, false, true},
		"an error of no kind": {message(unix.NLMSG_ERROR, 5, nil), 0, true, true},
	} {
		sockets := 0
		done, err := parse(test.datagram, 5, func([]byte) error { sockets++; return nil })
		if sockets != test.sockets || done != test.done || (err != nil) != test.err {
			t.Errorf("%s: %d sockets, done %v, %v", name, sockets, done, err)
		}
	}
}

func TestParseStopsAtAnError(t *testing.T) {
	broken := errors.New("broken")
	_, err := parse(message(unix.SOCK_DIAG_BY_FAMILY, 5, nil), 5, func([]byte) error { return broken })
	if err != broken {
		t.Errorf("got %v", err)
	}
}

// Only a link-local address has a zone.
func TestZone(t *testing.T) {
	for address, want := range map[string]string{
		"fe80::1":          "fe80::1%3",
		"2001:db8::1":      "2001:db8::1",
		"::ffff:127.0.0.1": "127.0.0.1",
	} {
		m := inetSocket{family: unix.AF_INET6, zone: 3, peer: netip.MustParseAddr(address).As16()}
		if got := m.pair().Peer.Addr().String(); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

// Whatever the kernel answers, no read goes beyond the end.
func FuzzParse(f *testing.F) {
	f.Add(message(unix.SOCK_DIAG_BY_FAMILY, 1, make([]byte, 72)))
	f.Add(message(unix.NLMSG_DONE, 1, nil))
	f.Add(append(message(unix.SOCK_DIAG_BY_FAMILY, 1, append(make([]byte, 16), 12, 0, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0)),
		message(unix.NLMSG_ERROR, 1, errorPayload(2))...))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		held := 0
		parse(datagram, 1, func(socket []byte) error {
			held += len(socket)
			readUnixQueue(socket)
			readInetQueue(socket)
			if m, err := readInet(socket); err == nil {
				m.bytes()
				m.pair()
			}
			return nil
		})
		if held > len(datagram) {
			t.Errorf("%d bytes of sockets in a datagram of %d", held, len(datagram))
		}
	})
}

package listen

import (
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A peer has gone when nobody would see an answer, and not when it only sends no more.
func TestGone(t *testing.T) {
	closing := func(c net.Conn) { c.Close() }
	halfClosing := func(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() }
	resetting := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }
	sending := func(c net.Conn) { io.WriteString(c, "a request") }
	both := func(first, then func(net.Conn)) func(net.Conn) { return func(c net.Conn) { first(c); then(c) } }
	for name, c := range map[string]struct {
		unix bool
		do   func(net.Conn)
		want bool
	}{
		"silent":                 {false, func(net.Conn) {}, false},
		"sent":                   {false, sending, false},
		"half-closed":            {false, halfClosing, false},
		"closed":                 {false, closing, false}, // as if it were half-closed
		"reset":                  {false, resetting, true},
		"sent, reset":            {false, both(sending, resetting), true},
		"unix, silent":           {true, func(net.Conn) {}, false},
		"unix, sent":             {true, sending, false},
		"unix, half-closed":      {true, halfClosing, false},
		"unix, sent, half-close": {true, both(sending, halfClosing), false},
		"unix, sent and closed":  {true, both(sending, closing), false},
		"unix, closed":           {true, closing, true},
	} {
		t.Run(name, func(t *testing.T) {
			address := "127.0.0.1:0"
			if c.unix {
				address = "unix:" + filepath.Join(t.TempDir(), "s")
			}
			l := listenAt(t, address)
			peer := dial(t, l)
			conn := accept(t, l)
			if conn.Gone() {
				t.Error("it has gone before it did anything")
			}
			c.do(peer)
			if c.want { // a reset may take a moment to arrive
				for deadline := time.Now().Add(slowtest.Scale(time.Minute)); !conn.Gone() && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond)
				}
			}
			if got := conn.Gone(); got != c.want {
				t.Errorf("gone: %v, want %v", got, c.want)
			}
			// It is the socket that counts, not who the proxy says it is.
			conn.SetProxied(netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"))
			if got := conn.Gone(); got != c.want {
				t.Errorf("behind a proxy gone: %v, want %v", got, c.want)
			}
		})
	}
}

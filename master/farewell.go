package master

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// farewells ends refused connections with a message. The message goes into the
// socket at once or not at all. Then the connection is half-closed, and what the
// peer has sent is read and thrown away for a moment: closing a socket that
// holds unread bytes resets the connection, and the reset would destroy the
// message on its way (RFC 1122 section 4.2.2.13).
//
// Nobody waits for that, least of all an accept goroutine. And because whoever
// is refused may have come to do harm, how many linger, for how long and for
// how many bytes is bounded.
type farewells struct{ lingering atomic.Int32 }

const (
	maxLingering = 64
	lingerTime   = 2 * time.Second
	lingerBytes  = 256 << 10
)

// say takes ownership of conn, a socket in blocking mode.
func (f *farewells) say(conn int, message string) {
	// A message that does not fit at once is cut: the send buffer of a fresh
	// connection has room for far more than is allowed.
	_ = unix.Sendto(conn, []byte(message), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	_ = unix.Shutdown(conn, unix.SHUT_WR)
	if f.lingering.Add(1) > maxLingering || unix.SetNonblock(conn, true) != nil {
		f.lingering.Add(-1)
		unix.Close(conn)
		return
	}
	file := os.NewFile(uintptr(conn), "refused connection")
	go func() {
		defer f.lingering.Add(-1)
		defer file.Close()
		if file.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
			return
		}
		buf := make([]byte, 4096)
		for left := lingerBytes; left > 0; {
			n, err := file.Read(buf)
			if err != nil {
				return // its end, a reset, or the end of our patience
			}
			left -= n
		}
	}()
}

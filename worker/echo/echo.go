package echo

import (
	"io"
	"sync/atomic"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// Serve is the echo handler. It returns nil when the client has ended its side and
// every byte has been sent back. With ipc.SettingQuitWord it also returns nil when the
// client has sent that word.
func Serve(c *worker.Conn) error {
	if word := c.Setting(ipc.SettingQuitWord); word != "" {
		return serveQuitWord(c, word)
	}
	return relay(c, systemCalls)
}

const (
	// bufferSize is the size of one read, in bytes. The kernel only provides the pages
	// that a client fills, so a short connection does not pay for the whole buffer.
	bufferSize = 64 << 10

	// bulkStartsAfter is the number of full reads in a row after which a connection
	// counts as bulk. The set-up of pipe and splice costs a few system calls. It is not
	// worth it for a single message that happens to fill the buffer.
	bulkStartsAfter = 2
)

// freeBuffer is the buffer of an earlier connection of this process, or nil. A new
// buffer for each connection must be cleared, and the garbage collector runs after a
// few dozen. No client gets old contents: only bytes that were just read are written.
var freeBuffer atomic.Pointer[[bufferSize]byte]

// relay echoes until the client ends its side. It starts with read and write. It
// changes to splice while the traffic is bulk and then changes back. Copying a small
// message is cheaper than sending it through a pipe.
//
// At most one buffer or one pipe of bytes is in transit. When the client stops reading,
// the write blocks and relay stops reading. The client then notices that its own send
// buffer is full.
func relay(c *worker.Conn, sys calls) error {
	buffer := freeBuffer.Swap(nil)
	if buffer == nil {
		buffer = new([bufferSize]byte)
	}
	defer freeBuffer.Store(buffer)
	buf := buffer[:]
	var p *pipe // nil until the traffic is bulk
	defer func() { p.close() }()
	for full := 0; ; {
		n, err := c.Read(buf)
		if err == io.EOF {
			return c.CloseWrite()
		}
		if err != nil {
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
		if n < len(buf) {
			full = 0
			continue
		}
		if full++; full < bulkStartsAfter {
			continue
		}
		full = 0
		if p == nil {
			p = newPipe(sys)
		}
		if err := p.relay(c, buf); err != nil {
			return err
		}
	}
}

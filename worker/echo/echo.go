package echo

import (
	"io"
	"sync/atomic"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// Serve is the echo handler. It returns nil when the client has ended its side
// and everything is on the way back, or, with ipc.SettingQuitWord set, when
// the client sent that word.
func Serve(c *worker.Conn) error {
	if word := c.Setting(ipc.SettingQuitWord); word != "" {
		return serveQuitWord(c, word)
	}
	return relay(c, system)
}

const (
	// bufferSize is what is read at once, in bytes. Only the pages that a
	// client fills are ever touched, so a short connection does not pay for it.
	bufferSize = 64 << 10

	// bulkAfter is how many times in a row a read must fill the buffer before
	// a connection counts as bulk. Pipe and splice cost a handful of system
	// calls to set up; a message that happens to fill one buffer is not worth
	// them.
	bulkAfter = 2
)

// kept is the buffer of an earlier connection of this process, or nil. A new one
// for each would have to be cleared, and be collected after a few dozen. What is
// left in it is written to nobody: only what was read over it is.
var kept atomic.Pointer[[bufferSize]byte]

// relay echoes until the client's end. It starts with read and write, changes
// to splice while the traffic is bulk, and comes back when it is not: a small
// message is cheaper to copy than to pass through a pipe.
//
// There is never more than one buffer, or one pipe, of bytes under way. A
// client that stops reading blocks the write, which stops the reading, and the
// back-pressure reaches the client through its own send buffer.
func relay(c *worker.Conn, sys calls) error {
	memory := kept.Swap(nil)
	if memory == nil {
		memory = new([bufferSize]byte)
	}
	defer kept.Store(memory)
	buf := memory[:]
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
		if full++; full < bulkAfter {
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

package echo

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/worker"
)

const (
	// pipeSize is the capacity asked for, in bytes. Over loopback the default
	// of 64 KiB costs about a third more CPU, and 1 MiB gains nothing
	// measurable; an unprivileged user can have 256 pipes of this size before
	// the kernel refuses (pipe-user-pages-soft in proc(5)).
	pipeSize = 256 << 10

	// minPipeSize is the least capacity that is worth having. A user over that
	// limit gets pipes of one or two pages, slower than copying.
	minPipeSize = 64 << 10

	// bulkChunk is the fewest bytes that count as bulk in one round, and
	// calmAfter how many smaller rounds in a row end it.
	bulkChunk = 16 << 10
	calmAfter = 8
)

// calls are the system calls that splicing takes, so that a test can make each
// of them fail where the kernel will not.
type calls struct {
	pipe2   func(fds []int, flags int) error
	setSize func(fd, size int) (int, error)
	getSize func(fd int) (int, error)
	splice  func(from, to, n int) (int, error)
}

var system = calls{
	pipe2: unix.Pipe2,
	setSize: func(fd, size int) (int, error) {
		return unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, size)
	},
	getSize: func(fd int) (int, error) {
		return unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	},
	splice: func(from, to, n int) (int, error) {
		moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_MOVE)
		return int(moved), err
	},
}

// A pipe carries bytes from a connection back into it without a copy through
// this process: splice(2) moves references to the pages that the network put
// them in, and needs a pipe on one side of each move.
//
// It is empty whenever no method runs. That is what makes one goroutine
// enough: filling an empty pipe waits only for the client to send, emptying it
// only for the client to read.
type pipe struct {
	sys         calls
	read, write int  // descriptors, owned
	size        int  // capacity in bytes
	broken      bool // splice does not work here: not again on this connection
}

// newPipe returns a pipe, a broken one when there is none to be had: whoever
// lacks descriptors for a pipe can still copy.
func newPipe(sys calls) *pipe {
	p := &pipe{sys: sys, read: -1, write: -1, broken: true}
	var fds [2]int
	if sys.pipe2(fds[:], unix.O_CLOEXEC) != nil {
		return p
	}
	p.read, p.write, p.broken = fds[0], fds[1], false
	// Enlarging may be refused (EPERM). The size that the kernel gave by
	// itself still works, in more rounds.
	size, err := sys.setSize(p.write, pipeSize)
	if err != nil {
		size, err = sys.getSize(p.write)
	}
	p.size = size
	p.broken = err != nil || size < minPipeSize
	return p
}

func (p *pipe) close() {
	if p != nil && p.read >= 0 {
		unix.Close(p.read)
		unix.Close(p.write)
	}
}

// relay echoes by splice while the traffic is bulk. It returns nil when it no
// longer is, when splice does not work on this connection, and at the client's
// end, which the next Read meets again. What does not fit the mould is moved
// through buf.
func (p *pipe) relay(c *worker.Conn, buf []byte) error {
	for small := 0; small < calmAfter && !p.broken; {
		n, err := p.fill(c)
		if n == 0 || err != nil {
			return err
		}
		if err := p.empty(c, n, buf); err != nil {
			return err
		}
		if small++; n >= bulkChunk {
			small = 0
		}
	}
	return nil
}

// fill waits for the client and moves what it sent, up to the pipe's capacity,
// into the empty pipe. It returns 0 at the client's end, and when splice
// refuses, with the pipe marked broken.
func (p *pipe) fill(c *worker.Conn) (int, error) {
	for {
		n, err := p.sys.splice(c.FD(), p.write, p.size)
		switch {
		case err == nil:
			c.Count(int64(n), 0)
			return n, nil
		case err == unix.EINTR:
			continue
		}
		// A socket tells its error once: after it, Read would find a plain end
		// of file, and a reset would pass for an end in order.
		// And a call that ended at a limit of the connection must not be tried
		// again in another way.
		if err = c.Error("splice from", err); final(err) {
			return 0, err
		}
		p.broken = true
		return 0, nil
	}
}

// empty moves the n bytes in the pipe to the client. It asks for exactly the
// bytes that are there and never sets SPLICE_F_MORE: the kernel would hold the
// last, incomplete segment back for bytes that nobody has announced.
func (p *pipe) empty(c *worker.Conn, n int, buf []byte) error {
	for n > 0 && !p.broken {
		moved, err := p.sys.splice(p.read, c.FD(), n)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && moved > 0:
			c.Count(0, int64(moved))
			n -= moved
			continue
		}
		if err = c.Error("splice to", err); final(err) {
			return err
		}
		p.broken = true
	}
	// What is left in a pipe that could not be spliced out is copied out, ahead
	// of everything that comes after it.
	for n > 0 {
		got, err := unix.Read(p.read, buf[:min(n, len(buf))])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return c.Error("read pipe of", err)
		}
		if _, err := c.Write(buf[:got]); err != nil {
			return err
		}
		n -= got
	}
	return nil
}

// final reports whether an error of the connection is about its end, and not
// about splice.
func final(err error) bool {
	return errors.Is(err, worker.ErrPeerGone) || errors.Is(err, worker.ErrIdle) || errors.Is(err, worker.ErrLifetime)
}

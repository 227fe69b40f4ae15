package echo

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/worker"
)

const (
	// pipeSize is the requested capacity, in bytes. Over loopback the default of 64 KiB
	// costs about a third more CPU, and 1 MiB gains nothing measurable. An unprivileged
	// user can have 256 pipes of this size before the kernel refuses more
	// (pipe-user-pages-soft in proc(5)).
	pipeSize = 256 << 10

	// minPipeSize is the smallest useful capacity. A user above that limit gets pipes
	// of one or two pages, which are slower than copying.
	minPipeSize = 64 << 10

	// minBulkBytes is the smallest round that counts as bulk. bulkEndsAfter is the
	// number of smaller rounds in a row that end the bulk mode.
	minBulkBytes  = 16 << 10
	bulkEndsAfter = 8
)

// calls holds the system calls of splicing. A test replaces them to make each of them
// fail.
type calls struct {
	pipe2   func(fds []int, flags int) error
	setSize func(fd, size int) (int, error)
	getSize func(fd int) (int, error)
	splice  func(from, to, n int) (int, error)
}

var systemCalls = calls{
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

// A pipe moves bytes from a connection back to it without a copy through this process.
// splice(2) moves references to the pages that the network stack filled. It needs a
// pipe on one side of each move.
//
// The pipe is empty whenever no method runs, so one goroutine is enough. Filling an
// empty pipe waits only until the client sends. Emptying it waits only until the client
// reads.
type pipe struct {
	sys         calls
	read, write int  // descriptors, owned
	size        int  // capacity in bytes
	broken      bool // splice failed; do not use it again on this connection
}

// newPipe returns a pipe. Without free descriptors it returns a broken pipe, and the
// caller copies instead.
func newPipe(sys calls) *pipe {
	p := &pipe{sys: sys, read: -1, write: -1, broken: true}
	var fds [2]int
	if sys.pipe2(fds[:], unix.O_CLOEXEC) != nil {
		return p
	}
	p.read, p.write, p.broken = fds[0], fds[1], false
	// The kernel may refuse to enlarge the pipe (EPERM). The original size still works,
	// in more rounds.
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

// relay echoes with splice while the traffic is bulk. It returns nil when the traffic
// is no longer bulk, or when splice does not work on this connection. It also returns
// nil when the client ends its side; the next Read sees that again. Bytes that splice
// cannot move go through buf.
func (p *pipe) relay(c *worker.Conn, buf []byte) error {
	for small := 0; small < bulkEndsAfter && !p.broken; {
		n, err := p.fill(c)
		if n == 0 || err != nil {
			return err
		}
		if err := p.empty(c, n, buf); err != nil {
			return err
		}
		if small++; n >= minBulkBytes {
			small = 0
		}
	}
	return nil
}

// fill waits for the client and moves its bytes into the empty pipe, up to the pipe's
// capacity. It returns 0 at end of file. It also returns 0 when splice fails, and then
// marks the pipe broken.
func (p *pipe) fill(c *worker.Conn) (int, error) {
	for {
		n, err := p.sys.splice(c.FD(), p.write, p.size)
		switch {
		case err == nil:
			c.AddBytes(int64(n), 0)
			return n, nil
		case err == unix.EINTR:
			continue
		}
		// A socket reports its error only once. A following Read would see a plain end
		// of file, and a reset would look like a normal end. A call that ended at a
		// limit of the connection must not be repeated in another way either.
		if err = c.WrapError("splice from", err); isConnectionEnd(err) {
			return 0, err
		}
		p.broken = true
		return 0, nil
	}
}

// empty moves the n bytes in the pipe to the client. It asks for exactly these bytes
// and never sets SPLICE_F_MORE. With that flag the kernel would delay the last,
// incomplete segment until more bytes come.
func (p *pipe) empty(c *worker.Conn, n int, buf []byte) error {
	for n > 0 && !p.broken {
		moved, err := p.sys.splice(p.read, c.FD(), n)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && moved > 0:
			c.AddBytes(0, int64(moved))
			n -= moved
			continue
		}
		if err = c.WrapError("splice to", err); isConnectionEnd(err) {
			return err
		}
		p.broken = true
	}
	// Bytes that splice could not move are copied, before any later bytes.
	for n > 0 {
		got, err := unix.Read(p.read, buf[:min(n, len(buf))])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return c.WrapError("read pipe of", err)
		}
		if _, err := c.Write(buf[:got]); err != nil {
			return err
		}
		n -= got
	}
	return nil
}

// isConnectionEnd reports whether an error means the end of the connection. Other
// errors only mean that splice does not work.
func isConnectionEnd(err error) bool {
	return errors.Is(err, worker.ErrPeerGone) || errors.Is(err, worker.ErrIdle) || errors.Is(err, worker.ErrLifetime)
}

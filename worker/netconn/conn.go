package netconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// A Conn is a worker's connection as a net.Conn. Any number of goroutines may call its
// methods. An error that means that the client has vanished matches worker.ErrPeerGone.
type Conn struct {
	stream // the duplicate; methods that need no byte count are promoted
	worker *worker.Conn
	peer   net.Addr
	idle   *time.Timer // nil without an idle limit
	once   sync.Once
	closed chan struct{}
}

// A stream has the methods that TCP and unix connections share.
type stream interface {
	net.Conn
	CloseWrite() error
	CloseRead() error
	SyscallConn() (syscall.RawConn, error)
}

// New returns the connection as a net.Conn. The net.Conn uses a duplicate of the
// descriptor, and the caller closes it. The connection itself ends when the handler
// returns. New takes the socket out of blocking mode, and Close restores it.
func New(c *worker.Conn) (*Conn, error) {
	// FileConn duplicates a descriptor and leaves the original to its os.File. The
	// finalizer of an os.File closes its descriptor, so the os.File gets a descriptor
	// of its own.
	fd, err := unix.FcntlInt(uintptr(c.FD()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate connection: %w", err)
	}
	file := os.NewFile(uintptr(fd), "connection")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return nil, fmt.Errorf("adopt connection: %w", err)
	}
	s, ok := conn.(stream)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("adopt connection: %T is not for streams", conn)
	}
	n := &Conn{stream: s, worker: c, peer: s.RemoteAddr(), closed: make(chan struct{})}
	// With the PROXY protocol, the socket's peer is not the client.
	if addr, err := netip.ParseAddrPort(c.Peer()); err == nil {
		n.peer = net.TCPAddrFromAddrPort(addr)
	}
	if limit := c.Limits().Idle; limit > 0 {
		n.watchIdle(limit)
	}
	return n, nil
}

// watchIdle applies the idle limit. The kernel does that for blocking calls only.
// watchIdle checks once per limit whether bytes have moved, so that moving bytes costs
// nothing. A connection may therefore be idle for up to twice the limit.
func (n *Conn) watchIdle(limit time.Duration) {
	in, out := n.worker.Bytes()
	seen := in + out
	var timer *time.Timer
	ready := make(chan struct{})
	timer = time.AfterFunc(limit, func() {
		<-ready
		in, out := n.worker.Bytes()
		if in+out == seen {
			n.worker.Abort(ipc.ReasonIdle)
			return
		}
		seen = in + out
		select {
		case <-n.closed:
		default:
			timer.Reset(limit)
		}
	})
	n.idle = timer
	close(ready)
}

// Read implements net.Conn.
func (n *Conn) Read(p []byte) (int, error) {
	got, err := n.stream.Read(p)
	n.worker.AddBytes(int64(got), 0)
	return got, n.wrapError("read from", err)
}

// Write implements net.Conn.
func (n *Conn) Write(p []byte) (int, error) {
	sent, err := n.stream.Write(p)
	n.worker.AddBytes(0, int64(sent))
	return sent, n.wrapError("write to", err)
}

// ReadFrom sends the bytes of r, with sendfile(2) or splice(2) where possible. See
// io.ReaderFrom.
func (n *Conn) ReadFrom(r io.Reader) (int64, error) {
	to, ok := n.stream.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{n}, r)
	}
	sent, err := to.ReadFrom(r)
	n.worker.AddBytes(0, sent)
	return sent, n.wrapError("write to", err)
}

// RemoteAddr returns the client's address as the log shows it.
func (n *Conn) RemoteAddr() net.Addr { return n.peer }

// Close half-closes the connection and closes the duplicate. It does not wait. The
// worker delivers the written bytes before it closes the connection itself. A second
// call does nothing.
func (n *Conn) Close() error {
	var err error
	n.once.Do(func() {
		close(n.closed)
		if n.idle != nil {
			n.idle.Stop()
		}
		n.stream.CloseWrite()
		err = n.stream.Close()
		// The blocking mode belongs to the socket and not to the descriptor. The
		// handler may continue with its own system calls.
		unix.SetNonblock(n.worker.FD(), false)
	})
	return err
}

// wrapError converts a network error to an error that package worker understands.
func (n *Conn) wrapError(op string, err error) error {
	if err == nil {
		return nil
	}
	if ended := n.worker.Err(); ended != nil {
		return ended
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return n.worker.WrapError(op, errno)
	}
	if err == io.EOF {
		n.worker.MarkEOF()
	}
	return err
}

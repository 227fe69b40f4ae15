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

// A Conn is a worker's connection as a net.Conn. Its methods are for any
// number of goroutines. Errors that mean that the client has vanished satisfy
// errors.Is(err, worker.ErrPeerGone).
type Conn struct {
	stream // the duplicate; all that is not counted passes through
	worker *worker.Conn
	peer   net.Addr
	idle   *time.Timer // nil without that limit
	once   sync.Once
	closed chan struct{}
}

// A stream is what TCP and unix connections have in common.
type stream interface {
	net.Conn
	CloseWrite() error
	CloseRead() error
	SyscallConn() (syscall.RawConn, error)
}

// New returns the connection as a net.Conn. It uses a duplicate of the
// descriptor, which the caller closes; the connection ends when the handler
// returns, not sooner. New takes the socket out of blocking mode, and Close
// puts it back.
func New(c *worker.Conn) (*Conn, error) {
	// FileConn duplicates the descriptor and leaves this one to its owner, who
	// must not lose it when the os.File is collected: so it gets one to keep.
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
	// With the PROXY protocol the client is not who the socket says.
	if addr, err := netip.ParseAddrPort(c.Peer()); err == nil {
		n.peer = net.TCPAddrFromAddrPort(addr)
	}
	if limit := c.Limits().Idle; limit > 0 {
		n.watchIdle(limit)
	}
	return n, nil
}

// watchIdle keeps the idle limit, which the kernel does for blocking calls
// only. It looks once in the time of the limit whether bytes have moved, so
// that moving them costs nothing; a connection may be idle for up to twice the
// limit.
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

// Read is that of net.Conn.
func (n *Conn) Read(p []byte) (int, error) {
	got, err := n.stream.Read(p)
	n.worker.Count(int64(got), 0)
	return got, n.explain("read from", err)
}

// Write is that of net.Conn.
func (n *Conn) Write(p []byte) (int, error) {
	sent, err := n.stream.Write(p)
	n.worker.Count(0, int64(sent))
	return sent, n.explain("write to", err)
}

// ReadFrom sends what it reads from r, by sendfile(2) or splice(2) where these
// can. See io.ReaderFrom.
func (n *Conn) ReadFrom(r io.Reader) (int64, error) {
	to, ok := n.stream.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{n}, r)
	}
	sent, err := to.ReadFrom(r)
	n.worker.Count(0, sent)
	return sent, n.explain("write to", err)
}

// RemoteAddr is the client's address as the log has it.
func (n *Conn) RemoteAddr() net.Addr { return n.peer }

// Close ends the client's input, waits for nothing, and gives up the
// duplicate. What was written is delivered before the worker lets go of the
// connection. Closing twice is harmless.
func (n *Conn) Close() error {
	var err error
	n.once.Do(func() {
		close(n.closed)
		if n.idle != nil {
			n.idle.Stop()
		}
		n.stream.CloseWrite()
		err = n.stream.Close()
		// The mode is the socket's, not the descriptor's, and the handler may
		// go on with system calls of its own.
		unix.SetNonblock(n.worker.FD(), false)
	})
	return err
}

// explain makes an error of the network one that package worker understands.
func (n *Conn) explain(op string, err error) error {
	if err == nil {
		return nil
	}
	if ended := n.worker.Ended(); ended != nil {
		return ended
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return n.worker.Error(op, errno)
	}
	if err == io.EOF {
		n.worker.SawEnd()
	}
	return err
}

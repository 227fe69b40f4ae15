package netconn

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/preforkd/preforkd/worker"
)

// A Listener has one connection to give. The first Accept returns it, the next
// one waits until it is closed, by whoever has it by then, and fails with
// net.ErrClosed. So a server that loops over Accept comes to its end with its
// connection: keep-alive, hijacking and upgrades included.
type Listener struct {
	conn   *Conn
	give   chan *Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a listener for the one connection.
func NewListener(c *worker.Conn) (*Listener, error) {
	conn, err := New(c)
	if err != nil {
		return nil, err
	}
	l := &Listener{conn: conn, give: make(chan *Conn, 1), closed: make(chan struct{})}
	l.give <- conn
	return l, nil
}

// Accept is that of net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-l.give:
		return conn, nil
	case <-l.conn.closed:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

// Addr is the address that the client connected to.
func (l *Listener) Addr() net.Addr { return l.conn.LocalAddr() }

// Close makes Accept fail. A connection that was accepted goes on; one that
// was not is closed.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		select {
		case conn := <-l.give:
			conn.Close()
		default:
		}
	})
	return nil
}

// A Server is what an *http.Server is, and others that are made like it.
// (Importing net/http here would make every program with a net.Conn link it.)
type Server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// Serve serves the one connection with a server made for many, and returns
// when the connection has ended, be it one that was hijacked. When the service
// drains, requests under way are answered and the connection is closed. The
// server must serve nothing else.
//
// For TLS, give a server a tls.NewListener around NewListener instead; its
// Serve ends in the same way, with net.ErrClosed.
func Serve(c *worker.Conn, server Server) error {
	l, err := NewListener(c)
	if err != nil {
		return err
	}
	defer l.conn.Close()
	ctx := c.Context()
	stop := context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })
	defer stop()
	err = server.Serve(l)
	// Serve returns when a shutdown begins. The connection is closed by the
	// server when it has answered, or by whoever has hijacked it.
	<-l.conn.closed
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

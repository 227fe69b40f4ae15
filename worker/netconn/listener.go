package netconn

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/preforkd/preforkd/worker"
)

// A Listener has one connection. The first Accept returns it. The next Accept waits
// until that connection is closed and then fails with net.ErrClosed. Code that has
// hijacked the connection may be what closes it. A server that calls Accept in a loop
// therefore ends with its connection. Keep-alive, hijacking and upgrades work.
type Listener struct {
	conn    *Conn
	pending chan *Conn
	closed  chan struct{}
	once    sync.Once
}

// NewListener returns a listener with this one connection.
func NewListener(c *worker.Conn) (*Listener, error) {
	conn, err := New(c)
	if err != nil {
		return nil, err
	}
	l := &Listener{conn: conn, pending: make(chan *Conn, 1), closed: make(chan struct{})}
	l.pending <- conn
	return l, nil
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-l.pending:
		return conn, nil
	case <-l.conn.closed:
	case <-l.closed:
	}
	return nil, net.ErrClosed
}

// Addr returns the address that the client connected to.
func (l *Listener) Addr() net.Addr { return l.conn.LocalAddr() }

// Close makes Accept fail. An accepted connection continues. A connection that was not
// accepted is closed.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		select {
		case conn := <-l.pending:
			conn.Close()
		default:
		}
	})
	return nil
}

// A Server has the methods of an *http.Server that Serve needs. Similar servers have
// them too. Importing net/http here would make every program with a net.Conn link it.
type Server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// Serve serves the one connection with a server that was made for many. It returns when
// the connection has ended, also when the connection was hijacked. When the service
// drains, current requests are answered and the connection is closed. The server must
// serve nothing else.
//
// For TLS, call the server's own Serve with a tls.NewListener around NewListener. It
// ends in the same way, with net.ErrClosed.
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
	// server.Serve returns when a shutdown begins. The server closes the connection
	// after its answer, or the code that hijacked the connection closes it.
	<-l.conn.closed
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

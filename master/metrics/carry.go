package metrics

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
)

// What of a Server does not go over to the program that takes over: scrapes, which are
// answered before (Settle).

// A listener is a TCP listener that can stand still.
type listener struct {
	*net.TCPListener
	accepting sync.Mutex // held while a connection is accepted

	mu      sync.Mutex    // guards what follows
	paused  chan struct{} // nothing is accepted until it is closed; nil if anything is
	closed  bool
	open    int           // connections
	changed chan struct{} // has one value when there is one less
}

func newListener(l *net.TCPListener) *listener {
	return &listener{TCPListener: l, changed: make(chan struct{}, 1)}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, paused, err := l.acceptUnlessPaused()
		if paused == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
		if paused != nil {
			<-paused
		}
	}
}

// acceptUnlessPaused accepts a connection. While the listener is paused it returns the
// channel to wait for. An error of the deadline says that it is paused by now.
func (l *listener) acceptUnlessPaused() (conn net.Conn, paused <-chan struct{}, err error) {
	l.accepting.Lock()
	defer l.accepting.Unlock()
	l.mu.Lock()
	paused = l.paused
	l.mu.Unlock()
	if paused != nil {
		return nil, paused, nil
	}
	if conn, err = l.TCPListener.Accept(); err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	l.open++
	l.mu.Unlock()
	return &connection{Conn: conn, of: l}, nil, nil
}

// Close implements net.Listener.
func (l *listener) Close() error {
	err := l.TCPListener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.release()
	return err
}

// pause returns when nobody accepts any more.
func (l *listener) pause() error {
	l.mu.Lock()
	if l.paused == nil && !l.closed {
		l.paused = make(chan struct{})
	}
	l.mu.Unlock()
	// It ends the Accept that waits, if any, and would end the next one.
	if err := l.SetDeadline(time.Unix(1, 0)); err != nil {
		l.resume()
		return err
	}
	l.accepting.Lock()
	defer l.accepting.Unlock()
	return nil
}

func (l *listener) resume() {
	_ = l.SetDeadline(time.Time{}) // unless it is closed, and then it ends every Accept
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release()
}

// release wakes Accept. The caller holds the lock.
func (l *listener) release() {
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
}

// settle waits until no connection is open, for at most timeout.
func (l *listener) settle(timeout time.Duration) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		l.mu.Lock()
		open := l.open
		l.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-l.changed:
		case <-timer.C:
			return
		}
	}
}

// A connection is one of a listener, and counts until it is closed.
type connection struct {
	net.Conn
	of   *listener
	once sync.Once
}

// Close implements net.Conn.
func (c *connection) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.of.mu.Lock()
		c.of.open--
		c.of.mu.Unlock()
		select {
		case c.of.changed <- struct{}{}:
		default:
		}
	})
	return err
}

// Pause has the server accept no connection until Resume. Clients wait in the queue of
// the socket.
func (s *Server) Pause() error {
	if err := s.listener.pause(); err != nil {
		return fmt.Errorf("pause the metrics: %w", err)
	}
	return nil
}

// Resume ends what Pause has begun.
func (s *Server) Resume() { s.listener.resume() }

// Settle waits until every client of a paused server has its answer, for at most timeout.
func (s *Server) Settle(timeout time.Duration) { s.listener.settle(timeout) }

// Export returns the descriptor of a paused server.
func (s *Server) Export(d *carry.Descriptors) (fd carry.FD, err error) {
	fd = carry.None
	controlErr := s.raw.Control(func(number uintptr) { fd = d.Keep(int(number)) })
	if controlErr != nil {
		return fd, fmt.Errorf("hand over the metrics: %w", controlErr)
	}
	return fd, nil
}

// Attach makes a server of a descriptor that went over, which is paused until Resume. The
// server has a duplicate, and nothing happens to the socket. The caller keeps fd, must
// close it for the socket ever to be closed, and must call Close.
func Attach(fd int) (*Server, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("take over the metrics: %w", err)
	}
	file := os.NewFile(uintptr(dup), "metrics")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over the metrics: %w", err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return nil, errors.New("take over the metrics: it is no TCP socket")
	}
	s, err := newServer(tcp)
	if err != nil {
		return nil, err
	}
	if err := s.Pause(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

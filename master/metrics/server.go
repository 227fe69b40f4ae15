package metrics

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/listen"
)

// A Server answers scrapes at a TCP address. Everybody who can connect may read
// the metrics, which name no peer. So only the address limits who can read.
type Server struct {
	listener *listener
	raw      syscall.RawConn // of listener
	http     http.Server
	served   chan struct{}
}

// Limits of one connection and of all. A slow client keeps its connection no
// longer. Connections beyond maxClients wait, so they take no descriptors from
// workers.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 30 * time.Second
	closeTimeout  = time.Second
	maxHeader     = 16 << 10
	maxClients    = 16
)

// Listen binds an address. Serve starts to answer, and the caller must call
// Close. The address may be taken by sockets of this process that are leaving,
// which the caller is going to close.
func Listen(address string, leaving []listen.Controller) (*Server, error) {
	l, err := bind(address, false)
	if errors.Is(err, syscall.EADDRINUSE) && len(leaving) > 0 {
		err = listen.Sharing(leaving, func() (err error) {
			l, err = bind(address, true)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return newServer(l)
}

// newServer makes a server of a listener, which becomes the server's.
func newServer(l *net.TCPListener) (*Server, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		l.Close()
		return nil, err
	}
	return &Server{listener: newListener(l), raw: raw, served: make(chan struct{})}, nil
}

// bind binds an address, beside sockets that have SO_REUSEPORT if shared. The new
// socket does not keep the option.
func bind(address string, shared bool) (*net.TCPListener, error) {
	// Without this, Go would listen with Multipath TCP.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	if shared {
		config.Control = func(_, _ string, c syscall.RawConn) error {
			return setReusePort(c, 1)
		}
	}
	bound, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	l := bound.(*net.TCPListener)
	if !shared {
		return l, nil
	}
	raw, err := l.SyscallConn()
	if err == nil {
		err = setReusePort(raw, 0)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func setReusePort(c syscall.RawConn, value int) error {
	var err error
	controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, value) })
	return errors.Join(controlErr, err)
}

// StopArrivals leaves new connections to another socket that has the address. Those
// that have come are still served. See package listen.
func (s *Server) StopArrivals() {
	// Without it those few are lost who connect in the moment of the close.
	_ = listen.StopArrivals(s.raw)
}

// Raw returns the socket for listen.Sharing. It is valid until Close.
func (s *Server) Raw() listen.Controller { return s.raw }

// Local returns the address to which the listener is bound.
func (s *Server) Local() string { return s.listener.Addr().String() }

// Serve answers GET /metrics with handler until Close. It returns at once.
func (s *Server) Serve(handler http.Handler) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // errors of clients are not worth a line in the log
	}
	// A connection serves one scrape. A new connection is cheap, and idle ones
	// would count against maxClients.
	s.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.served)
		// Only Close ends Serve. After an accept error it tries again.
		_ = s.http.Serve(netutil.LimitListener(s.listener, maxClients))
	}()
}

// Close ends the server. It waits up to closeTimeout for running scrapes.
func (s *Server) Close() error {
	if s.http.Handler == nil {
		return s.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.served
	return err
}

package metrics

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// A Server answers scrapes at a TCP address. Everybody who can connect may read
// the metrics, which name no peer. So only the address limits who can read.
type Server struct {
	listener net.Listener
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
// Close.
func Listen(address string) (*Server, error) {
	// Without this, Go would listen with Multipath TCP.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Server{listener: l, served: make(chan struct{})}, nil
}

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

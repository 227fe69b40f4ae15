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

// A Server answers scrapes at a TCP address. Whoever can connect may read: the
// address is the guard, and there are no peers in what is read.
type Server struct {
	listener net.Listener
	http     http.Server
	served   chan struct{}
}

// Nobody who is slow keeps a connection for longer than that, and nobody takes
// descriptors from workers: beyond so many connections they wait.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 30 * time.Second
	closeTimeout  = time.Second
	maxHeader     = 16 << 10
	maxClients    = 16
)

// Listen binds an address. Serve has the server answer, and Close ends it.
func Listen(address string) (*Server, error) {
	// TCP by name: Go would listen with Multipath TCP.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Server{listener: l, served: make(chan struct{})}, nil
}

// Local returns the address that it really listens at.
func (s *Server) Local() string { return s.listener.Addr().String() }

// Serve answers GET /metrics with handler, until Close.
func (s *Server) Serve(handler http.Handler) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // what strangers do wrong is no event
	}
	// A connection is for one scrape: to make another is cheap, and those that
	// only stay would take the room of others.
	s.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.served)
		// It ends by Close alone: accept errors make it pause.
		_ = s.http.Serve(netutil.LimitListener(s.listener, maxClients))
	}()
}

// Close ends the server, scrapes under way after at most a second.
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

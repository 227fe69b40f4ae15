package control

import (
	"context"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"
)

// A File is the mode, owner and group of the socket's file. A value of -1
// leaves that one unchanged. It is part of the state that a master hands to the next one.
type File struct {
	Mode int `json:"mode"`
	UID  int `json:"uid"`
	GID  int `json:"gid"`
}

// A Server answers requests at a control socket. Open binds the socket, Serve
// starts to answer, and Close ends both.
//
//	GET  /v1/status                   Status
//	GET  /v1/explain?address=&service= Explained
//	GET  /v1/log-level                LogLevel
//	POST /v1/log-level                {"level"}    LogLevel
//	POST /v1/drain                    {"service"}  Drained
//	POST /v1/resume                   {"service"}  Resumed
//	POST /v1/reload                                Reloaded
//	POST /v1/upgrade                  UpgradeRequest Upgraded
//	POST /v1/connections/ID/kill      {"signal"}   Killed
//	POST /v1/learn                    {"service"}  Learned
//	POST /v1/learn/ID                 {"end"}      Learned
//	GET  /metrics                                  the answer of Metrics
//
// Bodies and answers are JSON, and so are errors: {"error": "..."}.
//
// The mode of the socket's file decides who can connect, and whoever can
// connect may GET. A POST acts on the master. Only root and the user that the
// master runs as may POST.
type Server struct {
	// Metrics answers /metrics. If it is nil, nothing does. It must be set
	// before Serve.
	Metrics http.Handler

	socket  *socket
	log     *zap.Logger
	backend Backend
	routes  *http.ServeMux
	http    http.Server
	self    uint32        // the user that the master runs as
	served  chan struct{} // closed when http.Server.Serve has returned; nil before Serve
}

// Limits of one request. A slow client keeps its connection no longer.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = time.Minute // from the end of the header; a reload may wait for name servers
	idleTimeout   = time.Minute
	answerTimeout = 50 * time.Second
	closeTimeout  = time.Second

	maxHeader = 16 << 10
	maxBody   = 64 << 10
)

// Open binds the control socket at a path. It fails when another process
// listens there. The caller must call Close.
func Open(path string, file File, log *zap.Logger) (*Server, error) {
	socket, err := openSocket(path, file)
	if err != nil {
		return nil, err
	}
	return serverOf(socket, log), nil
}

func serverOf(socket *socket, log *zap.Logger) *Server {
	return &Server{socket: socket, log: log, self: uint32(os.Geteuid())}
}

// Serve starts to answer requests, in goroutines of its own.
func (s *Server) Serve(b Backend) {
	s.backend = b
	s.routes = s.newRoutes()
	s.http = http.Server{
		Handler:           s,
		ConnContext:       withClient,
		ConnState:         noteState,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Without this, net/http answers OPTIONS * itself.
		DisableGeneralOptionsHandler: true,
	}
	// net/http logs only that one of the handlers has panicked.
	s.http.ErrorLog, _ = zap.NewStdLogAt(s.log, zap.ErrorLevel)
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		_ = s.http.Serve(s.socket) // the error is always http.ErrServerClosed
	}()
}

// Path returns the path of the socket.
func (s *Server) Path() string { return s.socket.path }

// Apply gives the socket's file another owner, group and mode.
func (s *Server) Apply(file File) error { return s.socket.listener.Apply(file.options()) }

// Vanished reports whether the socket's file has been removed or replaced, so
// clients cannot find the server any more.
func (s *Server) Vanished() bool { return s.socket.vanished() }

// Close removes the socket and ends every connection. For up to closeTimeout it
// waits for requests that the master works on. It may be called without Serve.
func (s *Server) Close() error {
	err := s.socket.Close()
	if s.served == nil {
		return err
	}
	s.socket.clients.closeIdle()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	<-s.served
	return err
}

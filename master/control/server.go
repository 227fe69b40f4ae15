package control

import (
	"context"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"
)

// A File says whose the socket's file is to be: -1 leaves each as it comes.
type File struct{ Mode, UID, GID int }

// A Server answers at a control socket. Open binds it, Serve has it answer, and
// Close ends it.
//
//	GET  /v1/status                   Status
//	GET  /v1/explain?address=&service= Explained
//	GET  /v1/log-level                LogLevel
//	POST /v1/log-level                {"level"}    LogLevel
//	POST /v1/drain                    {"service"}  Drained
//	POST /v1/reload                                Reloaded
//	POST /v1/connections/ID/kill      {"signal"}   Killed
//	GET  /metrics                     what Metrics answers
//
// Bodies and answers are JSON, and so are errors: {"error": "..."}.
//
// Who can connect, by the mode of the socket's file, may GET. To POST is to act,
// which only root and the user that the master runs as may.
type Server struct {
	// Metrics, if it is not nil, answers /metrics. It is set before Serve.
	Metrics http.Handler

	socket *socket
	log    *zap.Logger
	master Controlled
	http   http.Server
	self   uint32 // the user that the master runs as
	served chan struct{}
}

// Nobody who is slow keeps a connection for longer than that.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = time.Minute // from the end of the header; a reload may ask name servers
	idleTimeout   = time.Minute
	answerTimeout = 50 * time.Second
	closeTimeout  = time.Second

	maxHeader = 16 << 10
	maxBody   = 64 << 10
)

// Open binds the control socket at a path. It fails when somebody listens there.
func Open(path string, file File, log *zap.Logger) (*Server, error) {
	socket, err := openSocket(path, file)
	if err != nil {
		return nil, err
	}
	return &Server{socket: socket, log: log, self: uint32(os.Geteuid())}, nil
}

// Serve begins to answer, in goroutines of its own.
func (s *Server) Serve(m Controlled) {
	s.master = m
	s.http = http.Server{
		Handler:           s,
		ConnContext:       withClient,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// OPTIONS * is nothing that there is.
		DisableGeneralOptionsHandler: true,
	}
	// All that net/http has to say is that a handler of ours has panicked.
	s.http.ErrorLog, _ = zap.NewStdLogAt(s.log, zap.ErrorLevel)
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		_ = s.http.Serve(s.socket) // always http.ErrServerClosed
	}()
}

// Path returns where the server listens.
func (s *Server) Path() string { return s.socket.path }

// Apply gives the socket's file another owner, group and mode.
func (s *Server) Apply(file File) error { return s.socket.listener.Apply(file.options()) }

// Vanished reports whether the socket's file is gone, so that nobody finds the
// server any more.
func (s *Server) Vanished() bool { return s.socket.vanished() }

// Close removes the socket and ends every connection; for a moment it waits for
// answers that are on their way. It may be called before Serve.
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

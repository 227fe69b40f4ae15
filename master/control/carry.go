package control

import (
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/listen"
)

// What of a Server does not go over to the program that takes over:
//
//   - connections of clients. Those with a request are answered before (Settle), but for
//     the client that waits for the outcome of an upgrade (Waiter). A client that keeps
//     an idle one open connects again.

// A ServerState is a Server in the state that a master hands to the next one.
type ServerState struct {
	Listener listen.ListenerState `json:"listener"`
}

// Pause has the server accept no connection until Resume. Clients wait in the queue of
// the socket. It does not wait, and may come before Serve.
func (s *Server) Pause() { s.socket.pause() }

// Resume ends what Pause has begun.
func (s *Server) Resume() { s.socket.resume() }

// Settle waits, for at most timeout, until every connection of a paused server has its
// answers, but for that of a client that waits for the outcome of an upgrade.
func (s *Server) Settle(timeout time.Duration) { s.socket.clients.settle(timeout) }

// Export returns the state of a paused server.
func (s *Server) Export(d *carry.Descriptors) (ServerState, error) {
	l, err := s.socket.listener.Export(d)
	return ServerState{l}, err
}

// RestoreServer makes a server again, which is paused until Resume. Attach comes before
// Serve. The caller must call Close.
func RestoreServer(s *ServerState, d *carry.Descriptors, log *zap.Logger) (*Server, error) {
	path := string(s.Listener.Path)
	if path == "" || s.Listener.FileInode == 0 {
		return nil, errors.New("control socket: it has no file")
	}
	l, err := listen.RestoreListener(&s.Listener, d)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	restored := newSocket(l, path)
	restored.device, restored.inode = s.Listener.FileDevice, s.Listener.FileInode
	restored.pause()
	return serverOf(restored, log), nil
}

// Attach makes a restored server ready for Serve. It does nothing to the socket but watch
// it.
func (s *Server) Attach() error {
	if err := s.socket.watch(); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// pause returns when nobody accepts any more.
func (s *socket) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused == nil {
		s.paused = make(chan struct{})
	}
}

func (s *socket) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused != nil {
		close(s.paused)
		s.paused = nil
	}
}

// accept accepts a connection as soon as the socket is not paused. It returns nil for one
// that was closed again.
func (s *socket) accept() (net.Conn, error) {
	for {
		s.mu.Lock()
		paused := s.paused
		if paused == nil {
			defer s.mu.Unlock()
			return s.acceptNow()
		}
		s.mu.Unlock()
		select {
		case <-paused:
		case <-s.closed:
			return nil, listen.ErrClosed
		}
	}
}

// settle waits until no client has a request, or has just come, for at most timeout.
func (cs *clients) settle(timeout time.Duration) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for !cs.areSettled() {
		select {
		case <-cs.changed:
		case <-timer.C:
			return
		}
	}
}

func (cs *clients) areSettled() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.open {
		if !c.idle && !c.waits {
			return false
		}
	}
	return true
}

// change tells settle that it should look again.
func (cs *clients) change() {
	select {
	case cs.changed <- struct{}{}:
	default:
	}
}

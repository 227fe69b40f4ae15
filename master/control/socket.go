package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/backoff"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/listen"
)

// A socket is the listening control socket. It implements net.Listener for
// net/http.
type socket struct {
	listener *listen.Listener
	waiting  *epoll.Set // of the listener
	clients  clients
	path     string
	file     fs.FileInfo   // the socket's file at the time of bind
	closed   chan struct{} // closed before the listener is closed
}

// openSocket binds the control socket with package listen, which can tell a
// stale socket from that of a live master. It makes the socket's directory if
// that is missing.
func openSocket(path string, file File) (*socket, error) {
	if err := currentPlaces().makeDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listeners, err := listen.Open(config.Address{Path: path}, file.options())
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &socket{listener: listeners[0], clients: clients{max: maxClients}, path: path, closed: make(chan struct{})}
	if s.waiting, err = epoll.New(); err == nil {
		if err = s.listener.Watch(s.waiting, 0); err == nil {
			s.file, err = os.Lstat(path)
		}
		if err != nil {
			s.waiting.Close()
		}
	}
	if err != nil {
		s.listener.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return s, nil
}

func (f File) options() listen.Options {
	o := listen.Defaults()
	o.Mode, o.UID, o.GID = f.Mode, f.UID, f.GID
	return o
}

// unlimited is a listen.Slots that always has a slot. Connections beyond the
// limit are closed after they were accepted.
type unlimited struct{}

func (unlimited) Reserve() bool { return true }
func (unlimited) Cancel()       {}

// Accept implements net.Listener. It retries after errors that pass, such as a
// shortage of descriptors. An error that it returns is final.
func (s *socket) Accept() (net.Conn, error) {
	var pause backoff.Backoff
	events := make([]unix.EpollEvent, 1)
	for {
		if _, _, err := s.waiting.Wait(events); err != nil {
			return nil, net.ErrClosed
		}
		accepted, err := s.listener.Accept(unlimited{})
		switch {
		case err == nil:
			if c := s.newClient(accepted); c != nil {
				return c, nil
			}
			continue
		case errors.Is(err, listen.ErrClosed):
			return nil, net.ErrClosed
		case errors.Is(err, listen.ErrNone):
			continue // the client has gone
		case listen.Classify(err) == listen.Harmless:
			continue
		}
		select {
		case <-time.After(pause.Next()):
		case <-s.closed:
		}
	}
}

// newClient makes a client of an accepted connection. On failure it closes the
// connection and returns nil.
func (s *socket) newClient(accepted *listen.Conn) *client {
	// Package listen returns blocking sockets, because workers need them.
	if err := unix.SetNonblock(accepted.FD, true); err != nil {
		unix.Close(accepted.FD)
		return nil
	}
	file := os.NewFile(uintptr(accepted.FD), "control connection")
	defer file.Close()
	conn, err := net.FileConn(file) // a duplicate
	if err != nil {
		return nil
	}
	c := accepted.Credentials
	return s.clients.add(conn, Peer{UID: c.Uid, GID: c.Gid, PID: c.Pid})
}

// Close implements net.Listener. It also removes the socket's file.
func (s *socket) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
	}
	close(s.closed)
	err := s.listener.Close()
	s.waiting.Close()
	return err
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// vanished reports whether the socket's file has been removed or replaced.
func (s *socket) vanished() bool {
	file, err := os.Lstat(s.path)
	return err != nil || !os.SameFile(file, s.file)
}

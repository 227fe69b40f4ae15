package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
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
	listener      *listen.Listener
	waiting       *epoll.Set // of the listener; nil before watch
	clients       clients
	path          string
	device, inode uint64        // of the socket's file at the time of bind
	closed        chan struct{} // closed before the listener is closed

	mu     sync.Mutex    // guards what follows, and is held while a connection is accepted
	paused chan struct{} // nothing is accepted until it is closed; nil if anything is
}

func newSocket(l *listen.Listener, path string) *socket {
	return &socket{
		listener: l, clients: clients{max: maxClients, changed: make(chan struct{}, 1)}, path: path, closed: make(chan struct{}),
	}
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
	s := newSocket(listeners[0], path)
	if err = s.watch(); err == nil {
		s.device, s.inode, err = identify(path)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return s, nil
}

// watch has Accept wait for connections.
func (s *socket) watch() error {
	waiting, err := epoll.New()
	if err != nil {
		return err
	}
	if err := s.listener.Watch(waiting, 0); err != nil {
		waiting.Close()
		return err
	}
	s.waiting = waiting
	return nil
}

// identify returns what tells a file from another one at its path.
func identify(path string) (device, inode uint64, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint64(st.Dev), st.Ino, nil
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
		c, err := s.accept()
		switch {
		case c != nil:
			return c, nil
		case err == nil:
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

// acceptNow accepts a connection. It returns nil for one that was closed again.
func (s *socket) acceptNow() (net.Conn, error) {
	accepted, err := s.listener.Accept(unlimited{})
	if err != nil {
		return nil, err
	}
	if c := s.newClient(accepted); c != nil {
		return c, nil
	}
	return nil, nil
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
	if s.waiting != nil {
		s.waiting.Close()
	}
	return err
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// vanished reports whether the socket's file has been removed or replaced. Where nobody can
// tell, it is there.
func (s *socket) vanished() bool {
	device, inode, err := identify(s.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
	}
	return device != s.device || inode != s.inode
}

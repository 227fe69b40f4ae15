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

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
)

// A socket is the listening control socket, as net/http wants one.
type socket struct {
	listener *listen.Listener
	clients  clients
	path     string
	file     fs.FileInfo   // of the socket's file, as it was bound
	closed   chan struct{} // closed before the listener is
}

// openSocket binds the control socket with package listen, which knows a stale
// socket from a live master's. A directory that is missing is made, as /run is
// empty after every start of the system; its parent must be there.
func openSocket(path string, file File) (*socket, error) {
	dir := filepath.Dir(path)
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		// The socket's own mode says who may connect; everybody may get there,
		// whatever the umask.
		if err := os.Chmod(dir, 0o755); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listeners, err := listen.Open(config.Address{Path: path}, file.options())
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &socket{listener: listeners[0], clients: clients{most: maxClients}, path: path, closed: make(chan struct{})}
	if s.file, err = os.Lstat(path); err != nil {
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

// freely grants every right to accept: what there is too much of is closed
// again.
type freely struct{}

func (freely) Reserve() bool { return true }
func (freely) Cancel()       {}

// How long to wait before accepting again where descriptors are short.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Accept implements net.Listener. Its errors are the end: what passes by itself
// is waited for.
func (s *socket) Accept() (net.Conn, error) {
	for pause := minPause; ; {
		accepted, err := s.listener.Accept(freely{})
		switch {
		case err == nil:
			if c := s.take(accepted); c != nil {
				return c, nil
			}
			continue
		case errors.Is(err, listen.ErrClosed):
			return nil, net.ErrClosed
		case listen.Classify(err) == listen.Harmless:
			continue
		}
		select {
		case <-time.After(pause):
		case <-s.closed:
		}
		pause = min(2*pause, maxPause)
	}
}

// take makes a client of an accepted connection, or closes it.
func (s *socket) take(accepted *listen.Conn) *client {
	// Package listen hands out blocking sockets, as workers want them.
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
	return s.clients.enter(conn, Peer{UID: c.Uid, GID: c.Gid, PID: c.Pid})
}

// Close implements net.Listener. The socket's file goes with it.
func (s *socket) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
	}
	close(s.closed)
	return s.listener.Close()
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// vanished reports whether the file is not there any more, or another one is.
func (s *socket) vanished() bool {
	file, err := os.Lstat(s.path)
	return err != nil || !os.SameFile(file, s.file)
}

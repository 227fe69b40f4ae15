package listen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A boundPath is a socket file that this process created, told apart from a
// successor's at the same path by device and inode.
type boundPath struct {
	path     string
	dev, ino uint64
}

// openUnix binds a unix stream socket. A socket file without a server behind
// it, as a crash leaves one, is replaced; a live server's and anything that is
// not a socket stay as they are.
func openUnix(path string) (*Listener, error) {
	at := &unix.SockaddrUnix{Name: path}
	if strings.HasPrefix(path, "@") {
		// x/sys turns the '@' into the NUL byte of an abstract name. Such a
		// name ends with its last descriptor, so there is nothing stale.
		fd, err := open(unix.AF_UNIX, 0, nil, at)
		if err != nil {
			return nil, err
		}
		return newListener(fd)
	}

	unlock, err := lockDirectory(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	fd, err := open(unix.AF_UNIX, 0, nil, at)
	if err == unix.EADDRINUSE {
		if err = removeStale(path); err == nil {
			fd, err = open(unix.AF_UNIX, 0, nil, at)
		}
	}
	if err != nil {
		return nil, err
	}
	l, err := newListener(fd)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		l.Close()
		return nil, err
	}
	l.bound = &boundPath{path: path, dev: uint64(st.Dev), ino: st.Ino}
	return l, nil
}

// lockDirectory keeps other preforkd masters from looking at, removing or
// creating sockets in the directory of path until unlock is called. Without it
// two masters that start together could both find the same stale socket, and
// the second would remove what the first has just bound.
func lockDirectory(path string) (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			dir.Close()
			return nil, fmt.Errorf("lock %s: %w", dir.Name(), err)
		}
		return func() { dir.Close() }, nil // closing the last descriptor unlocks
	}
}

// removeStale removes the socket at path when nobody listens at it.
func removeStale(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("the path exists and is not a socket")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
	case unix.ECONNREFUSED:
		return unix.Unlink(path)
	case nil, unix.EAGAIN, unix.EPROTOTYPE:
		// Connected; or a server whose accept queue is full; or one of
		// another socket type.
		return errors.New("address already in use by a live server")
	default:
		return fmt.Errorf("find out whether the socket is stale: %w", err)
	}
}

// remove unlinks the socket file unless somebody else's stands there by now.
func (b *boundPath) remove() error {
	unlock, err := lockDirectory(b.path)
	if err != nil {
		return err
	}
	defer unlock()
	var st unix.Stat_t
	if err := unix.Lstat(b.path, &st); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return err
	}
	if uint64(st.Dev) != b.dev || st.Ino != b.ino {
		return nil
	}
	return unix.Unlink(b.path)
}

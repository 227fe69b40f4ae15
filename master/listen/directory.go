package listen

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A directory is where a unix socket's file lies. It stays open as long as the
// socket is: the file can then be removed when there is no descriptor to be
// had, and wherever the directory has been moved to.
type directory struct {
	fd   int
	path string
}

// openDirectory opens the directory that path lies in. The caller closes it.
func openDirectory(path string) (*directory, error) {
	dir := filepath.Dir(path)
	for {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			return &directory{fd: fd, path: dir}, nil
		case unix.EINTR:
		default:
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
	}
}

func (d *directory) close() { unix.Close(d.fd) }

const (
	// lockTime bounds the wait for a lock. Masters hold it for a few system
	// calls; but everybody who can read a directory can lock it, and must not
	// be able to hold up a start, or a stop.
	lockTime = time.Second
	lockPoll = 5 * time.Millisecond
)

// lock keeps other preforkd masters from looking at, removing or creating
// sockets in the directory until unlock. Without it two masters that start
// together could both find the same stale socket, and the second would remove
// what the first has just bound.
func (d *directory) lock() error {
	for waited := time.Duration(0); ; waited += lockPoll {
		err := unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err == unix.EINTR:
			continue
		case err != unix.EWOULDBLOCK:
			return fmt.Errorf("lock %s: %w", d.path, err)
		case waited >= lockTime:
			return fmt.Errorf("lock %s: %w", d.path, errLocked)
		}
		time.Sleep(lockPoll)
	}
}

var errLocked = errors.New("another process holds a lock on the directory")

// unlock ends a lock. The lock belongs to the open file and not to the
// descriptor, so closing would not do while a child that is about to exec has
// a copy of it.
func (d *directory) unlock() { unix.Flock(d.fd, unix.LOCK_UN) }

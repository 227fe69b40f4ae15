package listen

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A directory is the directory that contains the file of a unix socket. It
// stays open as long as the socket. So the file can be removed when no
// descriptor is free, and when the directory was moved.
type directory struct {
	fd   int
	path string
}

// openDirectory opens the directory that contains path. The caller must close
// it.
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
	// lockTime is the longest wait for a lock. A master holds the lock for a
	// few system calls. But everybody who can read a directory can lock it.
	// That must not delay the start or the stop of a master.
	lockTime = time.Second
	lockPoll = 5 * time.Millisecond
)

// lock makes other preforkd masters wait before they check, remove or create
// sockets in the directory. Without the lock, two masters that start together
// could both find the same stale socket. The second one would then remove the
// new socket of the first.
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

// unlock ends a lock. The lock belongs to the open file description. A child
// that has not yet reached its exec has a copy of the descriptor, so a close
// would not end the lock.
func (d *directory) unlock() { unix.Flock(d.fd, unix.LOCK_UN) }

package listen

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

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

// ErrBusy reports that another master of the same user is about to bind or
// remove a unix socket in the same directory. That takes it a few system calls.
// The caller may try again after a short pause.
var ErrBusy = errors.New("another preforkd is about to open or close a socket there")

// lock makes other masters of the same user fail with ErrBusy when they check,
// remove or create sockets in the directory. Without the lock, two masters that
// start together could both find the same stale socket. The second one would
// then remove the new socket of the first. lock never waits. The caller calls
// unlock.
//
// The lock is on a file that only this user may open (flock(2)). A lock on the
// directory would be open to everybody who may read the directory, and could
// keep a master from starting. The file has the user's number in its name, and
// exists only while it is locked.
//
// What is found at the name of the file is not trusted. If it is not a file of
// this user that others cannot open, or if no file can be made, lock succeeds
// without a lock: then somebody else cannot keep a master from starting, and two
// masters that start in the same instant are not kept apart.
func (d *directory) lock() (unlock func(), err error) {
	name := lockName()
	for range lockAttempts {
		fd, err := openLock(d.fd, name)
		if err != nil {
			return func() {}, nil
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		for err == unix.EINTR {
			err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		}
		switch {
		case err == unix.EWOULDBLOCK:
			unix.Close(fd)
			return nil, fmt.Errorf("lock %s: %w", filepath.Join(d.path, name), ErrBusy)
		case err != nil: // the file system has no locks
			unix.Unlinkat(d.fd, name, 0)
			unix.Close(fd)
			return func() {}, nil
		case isFile(d.fd, name, fd):
			return func() {
				unix.Unlinkat(d.fd, name, 0)
				// The lock belongs to the open file description. A child that
				// has not yet reached its exec has a copy of the descriptor,
				// so a close would not end the lock.
				unix.Flock(fd, unix.LOCK_UN)
				unix.Close(fd)
			}, nil
		}
		// Its last holder has removed the file after it was opened here.
		unix.Close(fd)
	}
	return nil, fmt.Errorf("lock %s: %w", filepath.Join(d.path, name), ErrBusy)
}

// lockAttempts is how often lock opens a file that was removed meanwhile.
const lockAttempts = 10

// lockName returns the name of the lock file of this process's user.
func lockName() string { return ".preforkd-" + strconv.Itoa(unix.Geteuid()) + ".lock" }

// openLock opens or creates a lock file. The caller must close it. It fails if
// the file is not one that this user alone may open: everybody may put a file
// or a link into a directory such as /tmp. A file with a second name may be an
// important one of this user.
func openLock(dir int, name string) (int, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0o600)
	for err == unix.EINTR {
		fd, err = unix.Openat(dir, name, flags, 0o600)
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o077 != 0 || st.Uid != uint32(unix.Geteuid()) || st.Nlink > 1) {
		err = errors.New("not a lock file of this user")
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// isFile reports whether a name is still that of an open file.
func isFile(dir int, name string, fd int) bool {
	var there, opened unix.Stat_t
	return unix.Fstatat(dir, name, &there, unix.AT_SYMLINK_NOFOLLOW) == nil && unix.Fstat(fd, &opened) == nil &&
		there.Dev == opened.Dev && there.Ino == opened.Ino
}

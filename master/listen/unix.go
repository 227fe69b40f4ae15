package listen

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A boundPath is a socket file that this process has created. Its device and
// inode tell it from the file of a successor at the same path.
type boundPath struct {
	dir      *directory // owned
	path     string
	dev, ino uint64
}

// openUnix binds a unix stream socket. It replaces a socket file that has no
// server, as a crash leaves one. It does not replace the file of a live server,
// or a file that is not a socket. It fails with ErrBusy and does not wait where
// another master is about to do the same in the directory.
func openUnix(path string, o Options) (l *Listener, err error) {
	at := &unix.SockaddrUnix{Name: path}
	if strings.HasPrefix(path, "@") {
		// x/sys replaces the '@' by the NUL byte of an abstract name. Such a
		// name disappears with its last descriptor, so it cannot be stale.
		fd, err := open(unix.AF_UNIX, 0, nil, at, "")
		if err != nil {
			return nil, err
		}
		return listenOn(fd, o)
	}

	dir, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dir.close()
		}
	}()
	unlock, err := dir.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	fd, err := open(unix.AF_UNIX, 0, nil, at, "")
	if err == unix.EADDRINUSE {
		if err = removeStale(path); err == nil {
			fd, err = open(unix.AF_UNIX, 0, nil, at, "")
		}
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir.fd, filepath.Base(path), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		unix.Close(fd)
		return nil, err
	}
	bound := &boundPath{dir: dir, path: path, dev: uint64(st.Dev), ino: st.Ino}
	// Set the owner before listen(2). Until then connect fails, so nobody can
	// connect while the file still has its first owner and mode.
	if err = bound.setOwner(o); err == nil {
		l, err = listenOn(fd, o)
	} else {
		unix.Close(fd)
	}
	if err != nil {
		unix.Unlinkat(dir.fd, filepath.Base(path), 0)
		return nil, err
	}
	l.bound, l.fileDevice, l.fileInode = bound, bound.dev, bound.ino
	return l, nil
}

// setOwner sets the owner, group and mode of the socket file.
func (b *boundPath) setOwner(o Options) error {
	name := filepath.Base(b.path)
	if o.UID >= 0 || o.GID >= 0 {
		if err := unix.Fchownat(b.dir.fd, name, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("change owner of %s: %w", b.path, err)
		}
	}
	if o.Mode >= 0 {
		if err := unix.Fchmodat(b.dir.fd, name, uint32(o.Mode), 0); err != nil {
			return fmt.Errorf("change mode of %s: %w", b.path, err)
		}
	}
	return nil
}

// removeStale removes the socket file at path if no process listens there.
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
		// The connect has succeeded, or the queue of the server is full, or the
		// server has another socket type.
		return errors.New("address already in use by a live server")
	default:
		return fmt.Errorf("find out whether the socket is stale: %w", err)
	}
}

// remove unlinks the socket file and closes the directory. It does not unlink
// another file that has taken its place.
//
// While the socket still listens, no other master takes it for stale, so remove
// needs no lock of the directory. Afterwards the caller must hold the lock.
func (b *boundPath) remove() error {
	defer b.dir.close()
	name := filepath.Base(b.path)
	var st unix.Stat_t
	if err := unix.Fstatat(b.dir.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return err
	}
	if uint64(st.Dev) != b.dev || st.Ino != b.ino {
		return nil
	}
	return unix.Unlinkat(b.dir.fd, name, 0)
}

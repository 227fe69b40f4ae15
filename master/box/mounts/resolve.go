package mounts

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A resolver finds paths below a root, and never anything outside of it.
type resolver struct {
	root   int    // O_PATH, the caller's
	prefix string // what the calling thread calls that root
}

// openAttempts bounds how often a path is looked up that the kernel could not
// follow safely, because something was renamed meanwhile (EAGAIN, openat2(2)).
const openAttempts = 100

// open returns an O_PATH descriptor of what a path leads to. Links are followed
// within the root. The caller must close it.
func (r resolver) open(path string) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range openAttempts {
		fd, err = unix.Openat2(r.root, path, &how)
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}

// find opens a place and returns its path without links, too. Both are empty, and
// there is no error, if the place may be missing and is.
func (r resolver) find(p place) (fd int, path string, err error) {
	fd, err = r.open(p.path)
	if isMissing(err) && p.optional {
		return -1, "", nil
	}
	if err != nil {
		return -1, "", r.explain(p, err)
	}
	path, err = r.name(fd)
	if err != nil {
		unix.Close(fd)
		return -1, "", p.errorf("%w", err)
	}
	return fd, path, nil
}

// name returns the path, below the root and without links, of a descriptor.
func (r resolver) name(fd int) (string, error) {
	path, err := os.Readlink(fdPath(fd))
	if err != nil {
		return "", err
	}
	path = strings.TrimPrefix(path, strings.TrimSuffix(r.prefix, "/"))
	if path == "" {
		return "/", nil
	}
	return path, nil
}

// explain describes why a place cannot be opened. A dead link is named: the file
// that the user sees does exist.
func (r resolver) explain(p place, err error) error {
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return failed(p.key, p.path, "openat2", err)
	}
	if isMissing(err) {
		how := unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		}
		if link, e := unix.Openat2(r.root, p.path, &how); e == nil {
			defer unix.Close(link)
			if target, e := readLink(link); e == nil {
				return p.errorf("is a link to %s: %w", target, err)
			}
		}
	}
	return p.errorf("%w", err)
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// fdPath returns a path that leads to an open file of this process, whatever
// mount it is in.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// isDirectory reports whether a descriptor is of a directory.
func isDirectory(fd int) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// isMountRoot reports whether a descriptor is of the root of a mount.
func isMountRoot(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

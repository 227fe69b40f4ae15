package mounts

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A View finds files as the processes of a box will find them, before there is a
// box. It needs no rights but those to look: it follows the paths of the box in the
// files of the machine, and knows what the Config puts in their place. It keeps the
// descriptors of what it was made from until Close. Its methods may be called by
// several goroutines.
type View struct {
	c       Config
	root    node
	mounted map[string]node // by their paths without links
	covers  []cover
	dev     string // where a private /dev is
	fds     []int  // closed by Close
}

// A node is a file or directory of the box.
type node struct {
	fd   int    // O_PATH; -1 for what the box makes itself
	kind uint32 // its type, as st_mode has it
	own  bool   // in a file system that the box makes and that is read-only
	by   *cover // what has replaced it, or nil
}

func (n node) isDirectory() bool { return n.kind == unix.S_IFDIR }

// A CoveredError says that nothing can be found at a path, because a key of the box
// has replaced a directory above it.
type CoveredError struct{ by cover }

func (e CoveredError) Error() string {
	if e.by.hides {
		return fmt.Sprintf("is within %s, which %s hides", e.by.path, e.by.key)
	}
	return fmt.Sprintf("is within %s, which %s replaces for each connection", e.by.path, e.by.key)
}

func (CoveredError) Unwrap() error { return unix.ENOENT }

// Open opens a file for reading. It does not wait for the other end of a FIFO, and
// makes no terminal the controlling one.
func (v *View) Open(name string) (*os.File, error) {
	n, _, err := v.walk(name, true)
	if err != nil {
		return nil, err
	}
	if n.fd < 0 {
		return nil, n.refusal()
	}
	defer unix.Close(n.fd)
	fd, err := unix.Open(fdPath(n.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// IsDirectory reports whether a directory is at a path. The error is a bare errno, or
// says which key is in the way.
func (v *View) IsDirectory(name string) (bool, error) {
	n, _, err := v.walk(name, true)
	if err != nil {
		return false, err
	}
	n.close()
	return n.isDirectory(), nil
}

// CheckExecutable returns why this process, as far as it can tell, could not execute a
// file: it is missing, a directory (EISDIR), something else that is not a regular file
// (EINVAL), or its mode does not allow it (EACCES).
func (v *View) CheckExecutable(name string) error {
	n, _, err := v.walk(name, true)
	if err != nil {
		return err
	}
	defer n.close()
	switch {
	case n.isDirectory():
		return unix.EISDIR
	case n.kind != unix.S_IFREG:
		return unix.EINVAL
	case n.fd < 0:
		return n.refusal()
	}
	return unix.Faccessat(unix.AT_FDCWD, fdPath(n.fd), unix.X_OK, unix.AT_EACCESS)
}

// Close closes all that the view has open.
func (v *View) Close() {
	for _, fd := range v.fds {
		unix.Close(fd)
	}
	v.fds = nil
}

// refusal returns why what the box makes itself cannot be opened.
func (n node) refusal() error {
	if n.by != nil {
		return CoveredError{*n.by}
	}
	return unix.EACCES
}

func (n node) close() {
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
}

// maxLinks bounds how many symbolic links a path may lead over
// (path_resolution(7)).
const maxLinks = 40

// walk follows a path of the box, one name after the other, and never leaves the root:
// neither the target of a link nor ".." is ever given to the kernel. It returns what is
// there and its path without links. A link at the end is followed if follow is set. The
// caller must close the node.
func (v *View) walk(name string, follow bool) (n node, real string, err error) {
	at, names := []node{v.root}, []string{}
	var opened []int
	defer func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}()
	links := 0
	for rest := strings.Split(name, "/"); len(rest) > 0; {
		name, rest = rest[0], rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at, names = at[:max(1, len(at)-1)], names[:max(0, len(names)-1)]
			continue
		}
		child, target, err := v.child(at[len(at)-1], "/"+strings.Join(names, "/"), name)
		if err != nil {
			return node{}, "", err
		}
		if child.fd >= 0 && !slices.Contains(v.fds, child.fd) {
			opened = append(opened, child.fd)
		}
		if target == "" || !follow && len(rest) == 0 {
			at, names = append(at, child), append(names, name)
			continue
		}
		if links++; links > maxLinks {
			return node{}, "", unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			at, names = at[:1], nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	n = at[len(at)-1]
	if n.fd >= 0 {
		if n.fd, err = unix.FcntlInt(uintptr(n.fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return node{}, "", err
		}
	}
	return n, "/" + strings.Join(names, "/"), nil
}

// child returns what a name stands for in a directory, whose path without links is
// given, and where it leads if it is a link. The node's descriptor is one of the view's,
// or else the caller must close it.
func (v *View) child(directory node, dir, name string) (n node, target string, err error) {
	p := path.Join(dir, name)
	if mounted, ok := v.mounted[p]; ok {
		return mounted, "", nil
	}
	if !directory.isDirectory() {
		return node{}, "", unix.ENOTDIR
	}
	if directory.fd < 0 {
		return v.made(directory, p)
	}
	fd, err := unix.Openat(directory.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return node{}, "", err
	}
	n, err = newNode(fd)
	if err == nil && n.kind == unix.S_IFLNK {
		target, err = readLink(fd)
	}
	if err != nil {
		unix.Close(fd)
		return node{}, "", err
	}
	return n, target, nil
}

// made returns what is at a path in a directory that the box makes itself: the way to
// what is mounted further down, and in a private /dev its files.
func (v *View) made(directory node, p string) (n node, target string, err error) {
	n = node{fd: -1, kind: unix.S_IFDIR, own: directory.own, by: directory.by}
	for mounted := range v.mounted {
		if within(mounted, p) {
			return n, "", nil
		}
	}
	if path.Dir(p) == v.dev {
		name := path.Base(p)
		for _, d := range devices {
			if d.name == name {
				n.kind = unix.S_IFCHR
				return n, "", nil
			}
		}
		for _, l := range deviceLinks {
			if l.name == name {
				return n, l.target, nil
			}
		}
		if slices.Contains(deviceDirectories, name) {
			return n, "", nil
		}
	}
	if directory.by != nil {
		return node{}, "", CoveredError{*directory.by}
	}
	return node{}, "", unix.ENOENT
}

// newNode returns the node of an O_PATH descriptor, which becomes the node's.
func newNode(fd int) (node, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return node{fd: fd, kind: st.Mode & unix.S_IFMT}, err
}

// readLink returns where an open link leads.
func readLink(fd int) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}

// find returns what is at a place, and its path without links. It reports false, and
// no error, if the place may be missing and is. The caller must close the node.
func (v *View) find(p place) (n node, real string, there bool, err error) {
	n, real, err = v.walk(p.path, true)
	if err == nil {
		return n, real, true, nil
	}
	if isMissing(err) && p.optional {
		return node{}, "", false, nil
	}
	if covered, ok := errors.AsType[CoveredError](err); ok {
		return node{}, "", false, p.errorf("%w", covered)
	}
	if isMissing(err) {
		if link, _, e := v.walk(p.path, false); e == nil {
			defer link.close()
			if link.kind == unix.S_IFLNK {
				if target, e := readLink(link.fd); e == nil {
					return node{}, "", false, p.errorf("is a link to %s: %w", target, err)
				}
			}
		}
	}
	return node{}, "", false, p.errorf("%w", err)
}

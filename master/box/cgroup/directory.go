package cgroup

import (
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A directory is that of a cgroup.
type directory struct {
	// The kernel resolves name from the directory of descriptor at. The thread that
	// starts boxed workers may be in a mount namespace without /sys/fs/cgroup, and a
	// descriptor is good in each of them.
	at   int
	name string
	path string // absolute, for messages
}

// absolute returns the directory at an absolute path.
func absolute(path string) directory {
	return directory{at: unix.AT_FDCWD, name: path, path: path}
}

// fail adds to an error what was done to which file. A file of "" is the directory.
func (d directory) fail(op, file string, err error) error {
	path := d.path
	if file != "" {
		path += "/" + file
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// openFile opens a file of the cgroup. The caller owns the descriptor.
func (d directory) openFile(file string, flags int) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(d.at, d.name+"/"+file, flags|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, d.fail("open", file, err)
	}
	return fd, nil
}

// read returns the text of a file.
func (d directory) read(file string) (string, error) {
	fd, err := d.openFile(file, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text []byte
	for buf := make([]byte, 4096); ; {
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buf) })
		if err != nil {
			return "", d.fail("read", file, err)
		}
		if n == 0 {
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
}

// write writes a file. The kernel takes what is written in one call as one setting.
func (d directory) write(file, text string) error {
	fd, err := d.openFile(file, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, []byte(text)) }); err != nil {
		return d.fail("write "+strconv.Quote(text)+" to", file, err)
	}
	return nil
}

// has reports whether the cgroup has a file. Which there are depends on the kernel and on
// the controllers that are enabled in the cgroup above.
func (d directory) has(file string) bool {
	var st unix.Stat_t
	return unix.Fstatat(d.at, d.name+"/"+file, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// make makes the directory, and so the cgroup.
func (d directory) make() error {
	if err := unix.Mkdirat(d.at, d.name, 0o755); err != nil {
		return d.fail("mkdir", "", err)
	}
	return nil
}

// words returns the words of a file of one line, such as cgroup.controllers.
func (d directory) words(file string) ([]string, error) {
	text, err := d.read(file)
	return strings.Fields(text), err
}

// value returns the number in a file that has nothing else.
func (d directory) value(file string) (uint64, error) {
	text, err := d.read(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, d.fail("parse", file, err)
	}
	return n, nil
}

// keyed returns the numbers in a file with a name and a number in each line ("flat
// keyed" in cgroup-v2.rst).
func (d directory) keyed(file string) (map[string]uint64, error) {
	text, err := d.read(file)
	if err != nil {
		return nil, err
	}
	values, err := parseKeyed(text)
	if err != nil {
		return nil, d.fail("parse", file, err)
	}
	return values, nil
}

// ignoringEINTR repeats a system call that a signal of Go's scheduler has interrupted.
func ignoringEINTR(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

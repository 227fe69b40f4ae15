package mounts

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// devices are the nodes of a private /dev (Documentation/admin-guide/devices.txt).
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// deviceLinks are the links of a private /dev.
var deviceLinks = []struct{ name, target string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
}

// deviceDirectories are the directories of a private /dev.
var deviceDirectories = []string{"shm", "mqueue"}

// makeDevices mounts a private /dev.
func (b *builder) makeDevices() error {
	if !b.c.PrivateDevices {
		return nil
	}
	tree, err := newTmpfs(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "mode", "0755", "size", "64k", "nr_inodes", "256")
	if err != nil {
		return failed(keyPrivateDevices, "/dev", "mount", err)
	}
	b.keep(tree)
	target, path, err := b.box.find(newPlace(keyPrivateDevices, "/dev"))
	if err != nil {
		return err
	}
	unix.Close(target)
	b.dev = path
	if err := b.replace(path, func(target int) error { return b.addOwn(tree, target) }); err != nil {
		return failed(keyPrivateDevices, path, "move_mount", err)
	}
	for _, d := range devices {
		if err := b.makeDevice(tree, d.name, unix.Mkdev(d.major, d.minor)); err != nil {
			return failed(keyPrivateDevices, "/dev/"+d.name, "mknod", err)
		}
	}
	for _, l := range deviceLinks {
		err = errors.Join(err, unix.Symlinkat(l.target, tree, l.name))
	}
	for _, directory := range deviceDirectories {
		err = errors.Join(err, unix.Mkdirat(tree, directory, 0o755))
	}
	if err != nil {
		return fmt.Errorf("%s: /dev: %w", keyPrivateDevices, err)
	}
	return nil
}

// makeDevice makes a device node. Where that is not allowed (without CAP_MKNOD, in a
// user namespace, or by a cgroup) the machine's node is bound.
func (b *builder) makeDevice(dev int, name string, number uint64) error {
	err := unix.Mknodat(dev, name, unix.S_IFCHR|0o666, int(number))
	if err == nil && !usable(dev, name) {
		err = unix.Unlinkat(dev, name, 0)
		if err == nil {
			err = unix.EPERM
		}
	}
	if err != unix.EPERM {
		return err
	}
	node, err := b.machine.open("/dev/" + name)
	if err != nil {
		return err
	}
	defer unix.Close(node)
	tree, err := clone(node, false)
	if err != nil {
		return err
	}
	b.keep(tree)
	if err := unix.Mknodat(dev, name, unix.S_IFREG, 0); err != nil {
		return err
	}
	target, err := unix.Openat(dev, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return attach(tree, target)
}

// usable reports whether a device node can be opened. A node that was made in a user
// namespace cannot.
func usable(dev int, name string) bool {
	fd, err := unix.Openat(dev, name, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil || err == unix.ENXIO // there is no terminal
}

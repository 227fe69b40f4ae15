package mounts

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// own reports whether a file is in a file system that the template has made.
func (b *builder) own(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && slices.Contains(b.made, st.Dev)
}

// addOwn mounts a file system that the template has made, and that is read-only in
// the end.
func (b *builder) addOwn(tree, target int) error {
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	b.made = append(b.made, st.Dev)
	b.sealed = append(b.sealed, tree)
	return attach(tree, target)
}

// makeTarget finds a place at which something is to be mounted. It creates what is
// missing of the path within the file systems of the template.
func (b *builder) makeTarget(p place, directory bool) (fd int, path string, err error) {
	fd, path, err = b.locate(p)
	if !isMissing(err) {
		return fd, path, err
	}
	if e := b.create(p.path, directory); isMissing(e) {
		return -1, "", notCreated(err)
	} else if e != nil {
		return -1, "", p.errorf("create: %w", e)
	}
	return b.locate(p)
}

// create creates a directory or an empty file, and the directories above it. It
// returns ENOENT if that would be in a file system of the machine.
func (b *builder) create(name string, directory bool) error {
	parent, rest := path.Dir(name), []string{path.Base(name)}
	fd, err := b.box.open(parent)
	for isMissing(err) && parent != "/" {
		rest = append(rest, path.Base(parent))
		parent = path.Dir(parent)
		fd, err = b.box.open(parent)
	}
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	if !b.own(fd) {
		return unix.ENOENT
	}
	for i, name := range slices.Backward(rest) {
		if i == 0 && !directory {
			return unix.Mknodat(fd, name, unix.S_IFREG|0o444, 0)
		}
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			return err
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
		fd = next
	}
	return nil
}

// makeTemporary mounts the temporary file systems. They hold nothing but what binds
// are mounted on.
func (b *builder) makeTemporary() error {
	for _, p := range newPlaces(keyTemporary, b.c.TemporaryFileSystems) {
		target, _, err := b.makeTarget(p, true)
		if err != nil {
			return err
		}
		if target < 0 {
			continue
		}
		tree, err := newTmpfs(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "0755", "size", "1m")
		if err == nil {
			err = b.addOwn(b.keep(tree), target)
		}
		unix.Close(target)
		if err != nil {
			return failed(p.key, p.path, "mount", err)
		}
	}
	return nil
}

// attachBinds mounts the copies of the sources of binds.
func (b *builder) attachBinds() error {
	for _, i := range bindOrder(b.c.Binds) {
		if b.sources[i] < 0 {
			continue
		}
		if err := b.attachBind(b.c.Binds[i], b.sources[i]); err != nil {
			return err
		}
	}
	return nil
}

// bindOrder returns the indices of binds: the outer target comes before the inner one.
func bindOrder(binds []Bind) []int {
	order := make([]int, len(binds))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compareDepth(binds[i].Target, binds[j].Target) })
	return order
}

func (b *builder) attachBind(bind Bind, tree int) error {
	p := place{key: keyBind, path: bind.Target}
	directory, err := isDirectory(tree)
	if err != nil {
		return failed(keyBind, strings.TrimPrefix(bind.Source, "-"), "fstat", err)
	}
	target, path, err := b.makeTarget(p, directory)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if is, err := isDirectory(target); err != nil || is != directory {
		return unlike(bind)
	}
	if b.c.PrivateDevices && !within(path, b.dev) {
		if err := setAttributes(tree, unix.MOUNT_ATTR_NODEV, true); err != nil {
			return failed(keyBind, bind.Target, "mount_setattr", err)
		}
	}
	if err := attach(tree, target); err != nil {
		return failed(keyBind, bind.Target, "move_mount", err)
	}
	b.access = append(b.access, access{placed: placed{place: p, real: path}, readOnly: bind.ReadOnly})
	return nil
}

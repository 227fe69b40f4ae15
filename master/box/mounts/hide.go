package mounts

import (
	"slices"

	"golang.org/x/sys/unix"
)

// makeBlank mounts what copies are taken of to hide files. It stands below the new
// root, so that it is not part of the template itself.
func (b *builder) makeBlank() error {
	// The root is the master's: as another user than root it could make nothing in a
	// directory of mode 0. What is seen in a box is only what is in there.
	fd, err := newTmpfs(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "mode", "0700", "nr_inodes", "8", "size", "4096")
	if err != nil {
		return err
	}
	b.blank = b.keep(fd)
	if err := unix.Mkdirat(fd, blankDirectory, 0); err != nil {
		return err
	}
	if err := unix.Mknodat(fd, blankFile, unix.S_IFREG, 0); err != nil {
		return err
	}
	if err := setAttributes(fd, unix.MOUNT_ATTR_RDONLY, false); err != nil {
		return err
	}
	return attachAtRoot(fd)
}

const (
	blankDirectory = "directory"
	blankFile      = "file"
)

// cover mounts something empty on an open file or directory.
func (b *builder) cover(target int) error {
	is, err := isDirectory(target)
	if err != nil {
		return err
	}
	name := blankFile
	if is {
		name = blankDirectory
	}
	empty, err := unix.OpenTree(b.blank, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(empty)
	return attach(empty, target)
}

// hide covers what must not be seen. It comes after all that shows something.
func (b *builder) hide() error {
	var found []placed
	for _, p := range hidden(b.c) {
		fd, path, err := b.locate(p)
		if err != nil {
			return err
		}
		if fd >= 0 {
			unix.Close(fd)
			found = append(found, placed{place: p, real: path})
		}
	}
	slices.SortStableFunc(found, func(x, y placed) int { return compareDepth(x.real, y.real) })
	for _, p := range found {
		if isHidden(b.covers, p.real) {
			continue
		}
		if err := b.replace(p.real, b.cover); err != nil {
			return failed(p.key, p.path, "move_mount", err)
		}
		b.covers = append(b.covers, cover{key: p.key, path: p.real, hides: true})
	}
	return nil
}

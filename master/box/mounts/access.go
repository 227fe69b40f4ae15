package mounts

import (
	"slices"

	"golang.org/x/sys/unix"
)

// An access says whether a path and what is below it can be written to.
type access struct {
	placed
	readOnly bool
	tree     int // a copy from before the rest became read-only; 0 for none
}

// setWritable makes the box read-only where the keys say so.
//
// mount_setattr(2) makes a whole tree read-only at once. To make part of it
// writable again would be wrong: the machine may have mounted it read-only. So a
// copy of that part is taken before, and takes its place afterwards.
func (b *builder) setWritable() error {
	if err := b.findAccess(); err != nil {
		return err
	}
	for _, fd := range b.sealed {
		if err := setAttributes(fd, unix.MOUNT_ATTR_RDONLY, false); err != nil {
			return failed(b.c.key(), "a file system of the box", "mount_setattr", err)
		}
	}
	for i := range b.access {
		if err := b.copyWritable(&b.access[i]); err != nil {
			return err
		}
	}
	if b.c.ReadOnly {
		if err := setAttributes(b.box.root, unix.MOUNT_ATTR_RDONLY, true); err != nil {
			return failed(keyProtectSystem, "/", "mount_setattr", err)
		}
	}
	for _, a := range b.access {
		if err := b.setAccess(a); err != nil {
			return err
		}
	}
	return nil
}

// findAccess completes the list of accesses, and puts the outer path before the
// inner one.
func (b *builder) findAccess() error {
	for _, p := range accessPlaces(b.c) {
		fd, path, err := b.locate(p)
		if err != nil {
			return err
		}
		if fd < 0 {
			continue
		}
		own := b.own(fd)
		unix.Close(fd)
		if own && p.key == keyReadWrite {
			return ownError(p)
		}
		b.access = append(b.access, access{placed: placed{place: p, real: path}, readOnly: p.key == keyReadOnly})
	}
	if err := b.keepProc(); err != nil {
		return err
	}
	var err error
	b.access, err = sortAccess(b.access)
	return err
}

// keepProc leaves a /proc that all cells share as writable as it is, unless a key is
// about it: protect-system is not about the kernel's own files, as in systemd
// (ProtectSystem= in systemd.exec(5)). Programs write to their own files there, such as
// /proc/self/loginuid.
func (b *builder) keepProc() error {
	if !b.c.ReadOnly || b.c.PrivatePIDs || b.c.readOnlyProc() {
		return nil
	}
	p := newPlace(keyProtectSystem, "-/proc")
	path, err := b.mountRoot(p)
	named := slices.ContainsFunc(b.access, func(a access) bool { return a.real == path })
	if err != nil || path == "" || named {
		return err
	}
	b.access = append(b.access, access{placed: placed{place: p, real: path}})
	return nil
}

// accessPlaces returns the places that are to be read-only or writable.
func accessPlaces(c Config) []place {
	return slices.Concat(newPlaces(keyReadOnly, c.ReadOnlyPaths), newPlaces(keyReadWrite, c.ReadWritePaths))
}

// sortAccess puts the outer path before the inner one. Two that lead to the same file
// must not contradict each other.
func sortAccess(all []access) ([]access, error) {
	slices.SortStableFunc(all, func(x, y access) int { return compareDepth(x.real, y.real) })
	for i := 1; i < len(all); i++ {
		x, y := all[i-1], all[i]
		if x.real == y.real && x.readOnly != y.readOnly {
			return nil, y.errorf("is the same as %s of %s, which says otherwise", x.path, x.key)
		}
	}
	return all, nil
}

// copyWritable takes a copy of what is to stay as writable as it is, where something
// else would make it read-only.
func (b *builder) copyWritable(a *access) error {
	covered := slices.ContainsFunc(b.access, func(outer access) bool {
		return outer.readOnly && within(a.real, outer.real)
	})
	if a.readOnly || !covered && !b.c.ReadOnly {
		return nil
	}
	fd, err := b.box.open(a.real)
	if err != nil {
		return failed(a.key, a.path, "openat2", err)
	}
	defer unix.Close(fd)
	tree, err := clone(fd, true)
	if err != nil {
		return failed(a.key, a.path, "open_tree", err)
	}
	a.tree = b.keep(tree)
	return nil
}

// setAccess makes a path read-only, or puts the writable copy there.
func (b *builder) setAccess(a access) error {
	switch {
	case a.readOnly:
		if err := b.makeReadOnly(a.real); err != nil {
			return failed(a.key, a.path, "mount_setattr", err)
		}
	case a.tree > 0:
		if err := b.replace(a.real, func(target int) error { return attach(a.tree, target) }); err != nil {
			return failed(a.key, a.path, "move_mount", err)
		}
	}
	return nil
}

// makeReadOnly makes a path without links, and what is below it, read-only.
func (b *builder) makeReadOnly(path string) error {
	fd, err := b.box.open(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if isMountRoot(fd) {
		return setAttributes(fd, unix.MOUNT_ATTR_RDONLY, true)
	}
	tree, err := clone(fd, true)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := setAttributes(tree, unix.MOUNT_ATTR_RDONLY, true); err != nil {
		return err
	}
	return attach(tree, fd)
}

package mounts

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// enter makes all mounts private, and opens the root of the process. That is not the
// root of the namespace where the process is in a chroot(2).
func (b *builder) enter() error {
	key := b.c.key()
	machine, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: /: %w", key, err)
	}
	b.machine = resolver{root: b.keep(machine)}
	// To enter the namespace in which the thread is already moves the thread to the
	// root of the namespace (mntns_install in fs/namespace.c). That is where a
	// cell will start from, too.
	if err := unix.Setns(b.namespace, unix.CLONE_NEWNS); err != nil {
		return failed(key, "", "setns", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return failed(key, "/", "mount", err)
	}
	b.machine.prefix, err = resolver{}.name(machine)
	return err
}

// openRoot opens the root of the box as a directory of the machine, and returns its
// path there.
func openRoot(machine resolver, c Config) (fd int, path string, err error) {
	p := place{key: keyRoot, path: c.Root}
	if p.path == "" {
		p = place{key: c.key(), path: "/"}
	}
	fd, path, err = machine.find(p)
	if err != nil {
		return -1, "", err
	}
	if is, err := isDirectory(fd); err != nil || !is {
		unix.Close(fd)
		return -1, "", p.errorf("is not a directory")
	}
	return fd, path, nil
}

// copyTrees copies the sources of binds and the root, before anything is changed,
// and puts the copy of the root on top of the machine's.
func (b *builder) copyTrees() error {
	for _, bind := range b.c.Binds {
		tree := -1
		fd, _, err := b.machine.find(bind.sourcePlace())
		if err != nil {
			return err
		}
		if fd >= 0 {
			tree, err = clone(fd, true)
			unix.Close(fd)
			if err != nil {
				return failed(keyBind, bind.Source, "open_tree", err)
			}
			b.keep(tree)
		}
		b.sources = append(b.sources, tree)
	}
	key := b.c.key()
	root, path, err := openRoot(b.machine, b.c)
	if err != nil {
		return err
	}
	tree, err := clone(root, true)
	unix.Close(root)
	if err != nil {
		return failed(key, path, "open_tree", err)
	}
	b.box = resolver{root: b.keep(tree), prefix: "/"}
	if b.c.PrivateDevices {
		if err := setAttributes(tree, unix.MOUNT_ATTR_NODEV, true); err != nil {
			return failed(keyPrivateDevices, "/", "mount_setattr", err)
		}
	}
	if err := b.makeBlank(); err != nil {
		return failed(key, "an empty file system", "mount", err)
	}
	if err := attachAtRoot(tree); err != nil {
		return failed(key, "/", "move_mount", err)
	}
	b.covers, err = coversOf(b.box, false, cellDirectories(b.c))
	return err
}

// leaveMachine makes the new root the root of the namespace, and detaches all else.
func (b *builder) leaveMachine() error {
	key := b.c.key()
	if err := unix.Fchdir(b.box.root); err != nil {
		return failed(key, "/", "fchdir", err)
	}
	// The old root gets onto the new one (pivot_root(2), notes).
	if err := unix.PivotRoot(".", "."); err == unix.EINVAL {
		return &MissingError{
			Key:     key,
			Missing: "a root file system that pivot_root(2) can leave",
			Remedy:  "a root that is not the initial RAM disk (switch_root(8))",
			Err:     err,
		}
	} else if err != nil {
		return failed(key, "/", "pivot_root", err)
	}
	// Whoever enters the namespace gets to the mount that is topmost on its root.
	// These are still the empty file system and the old root.
	for range 2 {
		if err := unix.Setns(b.namespace, unix.CLONE_NEWNS); err != nil {
			return failed(key, "", "setns", err)
		}
		if err := unix.Unmount("/", unix.MNT_DETACH); err != nil {
			return failed(key, "/", "umount2", err)
		}
	}
	if err := unix.Setns(b.namespace, unix.CLONE_NEWNS); err != nil {
		return failed(key, "", "setns", err)
	}
	return b.checkRoot()
}

// checkRoot checks that whoever enters the namespace sees the box.
func (b *builder) checkRoot() error {
	var box, now unix.Statx_t
	if err := unix.Statx(b.box.root, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &box); err != nil {
		return failed(b.c.key(), "/", "statx", err)
	}
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID, &now); err != nil {
		return failed(b.c.key(), "/", "statx", err)
	}
	if box.Mnt_id != now.Mnt_id {
		return fmt.Errorf("%s: /: mount %d is the root of the box, and not %d", b.c.key(), now.Mnt_id, box.Mnt_id)
	}
	return nil
}

package mounts

import "golang.org/x/sys/unix"

// clone returns a detached copy of the mount that a descriptor is in, from there
// on down, with all that is mounted below if recursive. The caller must close it.
func clone(fd int, recursive bool) (int, error) {
	flags := uint(unix.AT_EMPTY_PATH | unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.OpenTree(fd, "", flags)
}

// attach mounts a detached tree on an open file or directory.
func attach(tree, target int) error {
	return unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// attachAtRoot mounts a detached tree on top of all that is mounted on "/".
func attachAtRoot(tree int) error {
	return unix.MoveMount(tree, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// setAttributes adds attributes to the mount that a descriptor is the root of, and
// to those below it if recursive.
func setAttributes(fd int, attributes uint64, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: attributes})
}

// newTmpfs makes a detached temporary file system. Options are names and values
// (tmpfs(5)). The caller must close it.
func newTmpfs(attributes int, options ...string) (int, error) {
	return newFileSystem("tmpfs", attributes, options...)
}

func newFileSystem(kind string, attributes int, options ...string) (int, error) {
	fs, err := newSuperblock(kind, options...)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
}

// newSuperblock returns what Fsmount makes a mount of. The caller must close it.
func newSuperblock(kind string, options ...string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	for i := 0; i < len(options) && err == nil; i += 2 {
		err = unix.FsconfigSetString(fs, options[i], options[i+1])
	}
	if err == nil {
		err = unix.FsconfigSetString(fs, "source", kind)
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		unix.Close(fs)
		return -1, err
	}
	return fs, nil
}

package mounts

import (
	"errors"

	"golang.org/x/sys/unix"
)

// showKernel makes /proc and /sys what the keys say they are. Where the root of the
// box has no such file system there is nothing to protect.
func (b *builder) showKernel() error {
	if b.c.PrivatePIDs {
		if err := b.tryProc(); err != nil {
			return err
		}
	} else if err := b.protectProc(); err != nil {
		return err
	}
	if b.c.ProtectKernel {
		return b.protectSys()
	}
	return nil
}

// tooRevealing is the error where a fresh /proc would show what is hidden in the
// present one (mount_too_revealing in fs/namespace.c).
func tooRevealing(key string, err error) error {
	return &MissingError{
		Key:     key,
		Missing: "a /proc over which nothing is mounted",
		Remedy:  "in a container an unmasked /proc (--security-opt unmask=ALL or systempaths=unconfined, procMount: Unmasked), under systemd ProtectKernelTunables=no and ProtectKernelLogs=no",
		Err:     err,
	}
}

// procSuperblock makes a /proc of the pid namespace of this process, for mountProc.
func procSuperblock(c Config) (int, error) {
	if c.ProtectProc {
		return newSuperblock("proc", "hidepid", "2")
	}
	return newSuperblock("proc")
}

// mountProc makes a detached mount of a procSuperblock, and closes that.
func mountProc(key string, superblock int, readOnly bool) (int, error) {
	defer unix.Close(superblock)
	attributes := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if readOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	fd, err := unix.Fsmount(superblock, unix.FSMOUNT_CLOEXEC, attributes)
	if errors.Is(err, unix.EPERM) {
		return -1, tooRevealing(key, err)
	}
	if err != nil {
		return -1, failed(key, "/proc", "fsmount", err)
	}
	return fd, nil
}

// tryProc finds out whether a cell will be able to mount a /proc, where this process
// can tell. It cannot where its pid namespace belongs to another user namespace
// than its own; the pid namespace of a cell never does.
func (b *builder) tryProc() error {
	superblock, err := procSuperblock(b.c)
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return failed(keyPrivatePIDs, "/proc", "fsconfig", err)
	}
	fd, err := mountProc(keyPrivatePIDs, superblock, b.c.readOnlyProc())
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// mountRoot returns the path without links of a place, "" if no file system is
// mounted there.
func (b *builder) mountRoot(p place) (string, error) {
	fd, path, err := b.box.find(p)
	if err != nil || fd < 0 {
		return "", err
	}
	defer unix.Close(fd)
	if !isMountRoot(fd) {
		return "", nil
	}
	return path, nil
}

// protectProc protects the /proc that all cells share.
func (b *builder) protectProc() error {
	path, err := b.mountRoot(newPlace(keyProtectProc, "-/proc"))
	if err != nil || path == "" {
		return err
	}
	if b.c.ProtectProc {
		superblock, err := procSuperblock(b.c)
		if err != nil {
			return failed(keyProtectProc, "/proc", "fsconfig", err)
		}
		fd, err := mountProc(keyProtectProc, superblock, b.c.readOnlyProc())
		if err != nil {
			return err
		}
		b.keep(fd)
		if err := b.replace(path, func(target int) error { return attach(fd, target) }); err != nil {
			return failed(keyProtectProc, path, "move_mount", err)
		}
	}
	if !b.c.ProtectKernel {
		return nil
	}
	if err := b.makeReadOnly(path); err != nil {
		return failed(keyProtectKernel, path, "mount_setattr", err)
	}
	for _, file := range kernelFiles {
		fd, err := b.box.open(file)
		if isMissing(err) {
			continue
		}
		if err == nil {
			err = b.cover(fd)
			unix.Close(fd)
		}
		if err != nil {
			return failed(keyProtectKernel, file, "move_mount", err)
		}
	}
	return nil
}

// protectSys leaves a read-only /sys without the file systems that are mounted in
// it: those of cgroups, of tracing, of firmware.
func (b *builder) protectSys() error {
	path, err := b.mountRoot(newPlace(keyProtectKernel, "-/sys"))
	if err != nil || path == "" {
		return err
	}
	original, err := b.box.open(path)
	if err != nil {
		return failed(keyProtectKernel, path, "openat2", err)
	}
	defer unix.Close(original)
	put := b.cover
	alone, err := clone(original, false)
	switch {
	case err == nil:
		b.keep(alone)
		const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
		if err := setAttributes(alone, attributes, false); err != nil {
			return failed(keyProtectKernel, path, "mount_setattr", err)
		}
		put = func(target int) error { return attach(alone, target) }
	case errors.Is(err, unix.EINVAL):
		// In a user namespace the kernel does not show what its parent has mounted
		// something over (MNT_LOCKED, mount_namespaces(7)). So nothing is shown.
	default:
		return failed(keyProtectKernel, path, "open_tree", err)
	}
	if err := b.replace(path, put); err != nil {
		return failed(keyProtectKernel, path, "move_mount", err)
	}
	return nil
}

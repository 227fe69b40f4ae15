package mounts

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A MissingError says that this machine cannot give what a key asks for.
type MissingError struct {
	Key     string // the key of the box
	Missing string // what is missing
	Remedy  string // what would give it
	Err     error  // what the kernel said
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: %s is missing (%v): %s", e.Key, e.Missing, e.Err, e.Remedy)
}

func (e *MissingError) Unwrap() error { return e.Err }

// A PathError says what is wrong with a path that a key of the box names.
type PathError struct {
	Key    string
	Path   string // without a "-" before it
	Source bool   // it is the source of a bind
	Err    error
}

func (e *PathError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Key, e.Path, e.Err) }

func (e *PathError) Unwrap() error { return e.Err }

// errorf returns a PathError about a place.
func (p place) errorf(format string, args ...any) error {
	return &PathError{p.key, p.path, p.source, fmt.Errorf(format, args...)}
}

// checkRootItself returns an error if a place that is to be changed is the root. Only
// read-only may the root be as a whole.
func checkRootItself(p place, real string) error {
	if real != "/" || p.key == keyReadOnly {
		return nil
	}
	return p.errorf("leads to the root itself")
}

// notCreated is the error for a target that is missing and is not created.
func notCreated(err error) error {
	if e, ok := errors.AsType[*PathError](err); ok {
		return &PathError{e.Key, e.Path, e.Source, fmt.Errorf("%w (only what is in a temporary-file-system is created)", e.Err)}
	}
	return err
}

// unlike is the error for a bind of a file to a directory, or the other way round.
func unlike(b Bind) error {
	return place{key: keyBind, path: strings.TrimPrefix(b.Source, "-")}.errorf("%s and its source must both be directories, or neither", b.Target)
}

// ownError is the error for a place that cannot be made writable.
func ownError(p place) error {
	return p.errorf("is in a file system of the box that all connections share, and stays read-only")
}

// noNull adds to the error for a missing /dev/null what would give it.
func noNull(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (private-devices would give it)", err)
}

// failed describes a system call that failed. It returns a *MissingError where
// the errno says that the machine does not allow or does not have the call.
func failed(key, path, call string, err error) error {
	wrapped := os.NewSyscallError(call, err)
	if path != "" {
		wrapped = fmt.Errorf("%s: %w", path, wrapped)
	}
	missing := &MissingError{Key: key, Err: wrapped}
	switch {
	case errors.Is(err, unix.ENOSYS):
		missing.Missing = "Linux 5.12 or later"
		missing.Remedy = "a newer kernel, or in a container a seccomp profile that knows " + call
	case errors.Is(err, unix.EPERM) && !capable(unix.CAP_SYS_ADMIN):
		missing.Missing = "CAP_SYS_ADMIN"
		missing.Remedy = "CapabilityBoundingSet= and AmbientCapabilities= of the unit, or --cap-add=SYS_ADMIN of the container"
	case errors.Is(err, unix.EPERM) && call == "setns" && !capable(unix.CAP_SYS_CHROOT):
		missing.Missing = "CAP_SYS_CHROOT"
		missing.Remedy = "CapabilityBoundingSet= and AmbientCapabilities= of the unit, or --cap-add=SYS_CHROOT of the container"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		missing.Missing = "the permission for " + call
		missing.Remedy = "a seccomp filter (SystemCallFilter=, RestrictNamespaces=, the container's profile) and a security module (AppArmor, SELinux) that allow it"
	case errors.Is(err, unix.ENOSPC) && call == "unshare":
		missing.Missing = "room for one more mount namespace"
		missing.Remedy = "a higher sysctl user.max_mnt_namespaces"
	case errors.Is(err, unix.ENOSPC):
		missing.Missing = "room for more mounts"
		missing.Remedy = "a higher sysctl fs.mount-max"
	default:
		return fmt.Errorf("%s: %w", key, wrapped)
	}
	return missing
}

// capable reports whether the calling thread has a capability.
func capable(capability uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return false
	}
	return sets[capability/32].Effective&(1<<(capability%32)) != 0
}

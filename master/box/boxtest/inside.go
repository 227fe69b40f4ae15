package boxtest

import (
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// Inside runs f on a thread that has entered namespaces: those of a process, for its
// pidfd, or one namespace, for its descriptor (setns(2)). kinds are the flags of the
// namespaces, such as unix.CLONE_NEWNS. What f starts is in them, too. A PID namespace is
// entered only by what f starts. The descriptor stays the caller's. The error is that of
// f, or says why the namespaces cannot be entered.
func Inside(fd, kinds int, f func() error) error {
	thread, err := osthread.Start(func() error {
		// Who shares its root with others may not enter a mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Setns(fd, kinds)
	})
	if err != nil {
		return err
	}
	defer thread.Close()
	thread.Do(func() { err = f() })
	return err
}

// InsideProcess is Inside for a process by its pid, which must not be reaped meanwhile.
func InsideProcess(pid, kinds int, f func() error) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return Inside(fd, kinds, f)
}

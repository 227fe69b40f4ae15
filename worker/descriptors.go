package worker

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// adoptDescriptors takes over the two descriptors of the contract. It reports whether
// the connection is one of them: a spare has /dev/null in its place. The numbers are
// fixed, so a worker must not serve whatever file is open there. In a worker that a
// person started, these may be files of a shell or of a test runner. Both descriptors
// are therefore checked before the first read or write. Errors are *exitErrors.
//
// Both descriptors get FD_CLOEXEC, because the exec of the worker required it to be
// clear. A program that a handler starts must not inherit the connection, or it would
// keep the connection open. It must not inherit the control channel either, or it could
// speak in the worker's name.
func adoptDescriptors() (hasConn bool, err error) {
	if hasConn = !IsSpare(); hasConn {
		err = checkConnection(ipc.FDConnection)
	}
	if err == nil {
		err = checkSocket(ipc.FDControl, unix.SOCK_SEQPACKET, "the control channel, a SOCK_SEQPACKET socket")
	}
	for fd := ipc.FDConnection; fd <= ipc.FDControl && err == nil; fd++ {
		if _, fcntlErr := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); fcntlErr != nil {
			err = fmt.Errorf("set FD_CLOEXEC on fd %d: %w", fd, fcntlErr)
		}
	}
	if err != nil {
		return false, &exitError{ipc.ExitDescriptors, err}
	}
	return hasConn, nil
}

// checkConnection returns an error when fd is not a usable connection.
func checkConnection(fd int) error {
	if err := checkSocket(fd, unix.SOCK_STREAM, "a connected stream socket"); err != nil {
		return err
	}
	// The blocking mode belongs to the open file description, so the master sets it for
	// this process too (fcntl(2), F_SETFL). In the wrong mode, reads would fail with
	// EAGAIN when the client pauses. This fault of the master is reported at once.
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("look at fd %d: %w", fd, err)
	}
	if flags&unix.O_NONBLOCK != 0 {
		return fmt.Errorf("fd %d must be in blocking mode, and is not", fd)
	}
	return nil
}

// startHint tells a person who started a worker by hand what to do.
const startHint = "this program is started by preforkd; by hand, set " + ipc.EnvStdin + "=1 to serve standard input and output"

// checkSocket returns an error when fd is not a socket of type want.
func checkSocket(fd, want int, role string) error {
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err == unix.EBADF:
		return fmt.Errorf("fd %d must be %s, and is not open: %s", fd, role, startHint)
	case err == unix.ENOTSOCK:
		return fmt.Errorf("fd %d must be %s, and is no socket: %s", fd, role, startHint)
	case err != nil:
		return fmt.Errorf("look at fd %d: %w", fd, err)
	case got != want:
		return fmt.Errorf("fd %d must be %s, and is a socket of type %d", fd, role, got)
	}
	return nil
}

// IsSpare reports whether the process was started ahead of its connections. A spare has
// /dev/null in place of the connection. The device number of /dev/null is fixed
// (devices.txt in the kernel's documentation). Call IsSpare at the start of main.
func IsSpare() bool {
	var st unix.Stat_t
	return unix.Fstat(ipc.FDConnection, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// replaceWithNull closes fd and puts a duplicate of standard input, /dev/null, in its
// place. In a worker that waits for another connection, no other file may get the
// number.
func replaceWithNull(fd int) error {
	if unix.Dup3(0, fd, unix.O_CLOEXEC) == nil {
		return nil
	}
	return unix.Close(fd)
}

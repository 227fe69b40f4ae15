package worker

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// adopt takes over the two descriptors of the contract and reports whether the
// connection is among them; a spare has /dev/null in its place. The numbers
// are fixed, so whatever happens to be open there would be served: a worker
// that was started by hand finds a shell's or a test runner's files. Both are
// looked at before anything is read from or written to them. Errors are
// *exitErrors.
//
// Both get FD_CLOEXEC, which inheritance has cleared: a program that a handler
// starts must get neither the connection, which it would keep open, nor the
// control channel, over which it could speak in the worker's name.
func adopt() (held bool, err error) {
	if held = !IsSpare(); held {
		err = checkConnection(ipc.FDConnection)
	}
	if err == nil {
		err = checkSocket(ipc.FDControl, unix.SOCK_SEQPACKET, "the control channel, a SOCK_SEQPACKET socket")
	}
	for fd := ipc.FDConnection; fd <= ipc.FDControl && err == nil; fd++ {
		if _, failed := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); failed != nil {
			err = fmt.Errorf("set FD_CLOEXEC on fd %d: %w", fd, failed)
		}
	}
	if err != nil {
		return false, &exitError{ipc.ExitDescriptors, err}
	}
	return held, nil
}

// checkConnection returns what keeps fd from being a connection.
func checkConnection(fd int) error {
	if err := checkSocket(fd, unix.SOCK_STREAM, "a connected stream socket"); err != nil {
		return err
	}
	// The mode lies in the open file description, so the master decides it for
	// this process (fcntl(2), F_SETFL). A wrong one would show as EAGAIN at the
	// first pause of a client; it is the master's mistake and said at once.
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("look at fd %d: %w", fd, err)
	}
	if flags&unix.O_NONBLOCK != 0 {
		return fmt.Errorf("fd %d must be in blocking mode, and is not", fd)
	}
	return nil
}

// whoStarts is the way out for somebody who has started a worker by hand.
const whoStarts = "this program is started by preforkd; by hand, set " + ipc.EnvStdin + "=1 to serve standard input and output"

// checkSocket returns what keeps fd from being a socket of that type.
func checkSocket(fd, want int, role string) error {
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err == unix.EBADF:
		return fmt.Errorf("fd %d must be %s, and is not open: %s", fd, role, whoStarts)
	case err == unix.ENOTSOCK:
		return fmt.Errorf("fd %d must be %s, and is no socket: %s", fd, role, whoStarts)
	case err != nil:
		return fmt.Errorf("look at fd %d: %w", fd, err)
	case got != want:
		return fmt.Errorf("fd %d must be %s, and is a socket of type %d", fd, role, got)
	}
	return nil
}

// IsSpare reports whether the process was started ahead of its connections:
// it has /dev/null, whose device number is fixed (devices.txt in the kernel's
// documentation), in the place of one. It is meant for the start of main.
func IsSpare() bool {
	var st unix.Stat_t
	return unix.Fstat(ipc.FDConnection, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// vacate gives up fd and leaves standard input, which is /dev/null, in its
// place. In a worker that waits for another connection the number must not be
// taken by the next descriptor that somebody opens.
func vacate(fd int) error {
	if unix.Dup3(0, fd, unix.O_CLOEXEC) == nil {
		return nil
	}
	return unix.Close(fd)
}

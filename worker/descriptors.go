package worker

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// adopt takes over the two descriptors of the contract. Their numbers are
// fixed, so whatever happens to be open there would be served: a worker that
// was started by hand finds a shell's or a test runner's files. Both are looked
// at before anything is read from or written to them.
func adopt() error {
	if err := adoptSocket(ipc.FDConnection, unix.SOCK_STREAM, "a connected stream socket"); err != nil {
		return err
	}
	// The mode lies in the open file description, so the master decides it for
	// this process (fcntl(2), F_SETFL). A wrong one would show as EAGAIN at the
	// first pause of a client; it is the master's mistake and said at once.
	flags, err := unix.FcntlInt(ipc.FDConnection, unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("look at fd %d: %w", ipc.FDConnection, err)
	}
	if flags&unix.O_NONBLOCK != 0 {
		return fmt.Errorf("fd %d must be in blocking mode, and is not", ipc.FDConnection)
	}
	return adoptSocket(ipc.FDControl, unix.SOCK_SEQPACKET, "the control channel, a SOCK_SEQPACKET socket")
}

// adoptSocket checks that fd is a socket of that type and sets FD_CLOEXEC,
// which inheritance has cleared: a program that a handler starts must get
// neither the connection, which it would keep open, nor the control channel,
// over which it could speak in the worker's name.
func adoptSocket(fd, want int, role string) error {
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err == unix.EBADF:
		return fmt.Errorf("fd %d must be %s, and is not open: this program is started by preforkd, not by hand", fd, role)
	case err == unix.ENOTSOCK:
		return fmt.Errorf("fd %d must be %s, and is no socket: this program is started by preforkd, not by hand", fd, role)
	case err != nil:
		return fmt.Errorf("look at fd %d: %w", fd, err)
	case got != want:
		return fmt.Errorf("fd %d must be %s, and is a socket of type %d", fd, role, got)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return fmt.Errorf("set FD_CLOEXEC on fd %d: %w", fd, err)
	}
	return nil
}

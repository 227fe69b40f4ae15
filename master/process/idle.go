package process

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Idle returns for how long no byte has come or gone on the TCP connection of
// a worker with the worker handoff, by the kernel's own account (TCP_INFO,
// tcp(7)). The worker must not have been reaped yet.
//
// It borrows the worker's descriptor for a moment (pidfd_getfd(2)), for which
// the master has the right as its parent, of the same user or as root. It fails
// for unix sockets, of which the kernel keeps no such account.
func Idle(pid int) (time.Duration, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(pidfd)
	conn, err := unix.PidfdGetfd(pidfd, ipc.FDConnection, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(conn)
	info, err := unix.GetsockoptTCPInfo(conn, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, err
	}
	return time.Duration(min(info.Last_data_recv, info.Last_data_sent)) * time.Millisecond, nil
}

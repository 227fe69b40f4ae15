package process

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// Idle returns how long no byte has been sent or received on the TCP connection
// of a worker, as the kernel counts (TCP_INFO, tcp(7)). The worker must have
// the worker handoff, and must not have been reaped yet.
//
// Idle copies the worker's descriptor for a moment (pidfd_getfd(2)). The master
// may do so as the parent of a process of the same user, or as root. Idle fails
// for unix sockets, because the kernel keeps no such times for them.
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

package fdpark

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Descriptors move between the two tables as SCM_RIGHTS over a socket pair, of
// which each table holds one end (unix(7)). Each message has one byte of data,
// its serial number.

// MaxTogether is how many descriptors are moved together: all or, on error, none. It is
// how many one message may carry (SCM_MAX_FD,
// unix(7)).
const MaxTogether = 253

// sendFDs sends descriptors of the calling thread's table. The caller keeps
// them.
func sendFDs(socket int, serial byte, fds []int) error {
	err := unix.Sendmsg(socket, []byte{serial}, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	return nil
}

// receiveFDs receives the message with this serial number into the calling
// thread's table. It discards earlier messages, which stay in the socket when
// their receiver had an error. It returns all of n descriptors, or none and an
// error.
func receiveFDs(socket int, serial byte, n int) ([]int, error) {
	for {
		fds, got, err := receiveMessage(socket)
		if err != nil {
			return nil, err
		}
		if got == serial && len(fds) == n {
			return fds, nil
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		if got == serial {
			// The kernel drops what the table has no room for, without an
			// error.
			return nil, fmt.Errorf("%d of %d descriptors arrived: %w", len(fds), n, unix.EMFILE)
		}
	}
}

// receiveMessage receives one message, with all descriptors that the table has
// room for.
func receiveMessage(socket int) (fds []int, serial byte, err error) {
	var data [1]byte
	control := make([]byte, unix.CmsgSpace(MaxTogether*4))
	_, n, _, _, err := unix.Recvmsg(socket, data[:], control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, 0, os.NewSyscallError("recvmsg", err)
	}
	if messages, _ := unix.ParseSocketControlMessage(control[:n]); len(messages) == 1 {
		fds, _ = unix.ParseUnixRights(&messages[0])
	}
	return fds, data[0], nil
}

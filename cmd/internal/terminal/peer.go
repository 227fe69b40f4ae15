package terminal

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerName says who is at the other end of a connection: the address, or, for
// a unix socket, whose clients have none, the process.
func PeerName(conn net.Conn) string {
	if _, ok := conn.(*net.UnixConn); !ok {
		return conn.RemoteAddr().String()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return "a local process"
	}
	var who *unix.Ucred
	raw.Control(func(fd uintptr) {
		who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if who == nil || err != nil {
		return "a local process"
	}
	return fmt.Sprintf("process %d of user %d", who.Pid, who.Uid)
}

// InputIsFile reports whether stdin is a file, as after <file: data to be sent
// as it is, rather than lines from somebody who means what they say.
func InputIsFile() bool { return isRegular(os.Stdin) }

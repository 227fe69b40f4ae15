package terminal

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerName returns the address of the peer. Clients of a unix socket have no address,
// so there PeerName returns the peer's process and user.
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

// InputIsFile reports whether stdin is a file, as after <file. A file is data and is
// sent unchanged. Other input may be lines from a person.
func InputIsFile() bool { return isRegular(os.Stdin) }

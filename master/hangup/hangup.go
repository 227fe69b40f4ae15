package hangup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/sockdiag"
)

// A Connection is one that a process serves.
type Connection struct {
	PID    int
	Socket sockdiag.Pair // zero for a unix socket
	Local  string        // for a unix socket, the address of its listener: unix:/path or unix:@name
}

// Gone tells for each connection whether its client has gone. The answer is no
// for a connection that its process has closed, and for a process that has
// ended. An error says of how many connections the kernel did not tell, and why;
// their answer is no, too.
//
// The kernel may refuse to show the descriptors of a process, which takes the
// same user or CAP_SYS_PTRACE. Then a TCP connection that has ended counts as one
// whose client has gone, although it may be the process that has closed it.
//
// Gone waits for nothing but the kernel's own work. It takes some microseconds
// for each unix socket, and as long as sockdiag.Connections for the others.
func Gone(connections []Connection) ([]bool, error) {
	alive, complete := living(connections)
	gone := make([]bool, len(connections))
	var failed int
	var failure error
	for i, c := range connections {
		if _, ok := alive[c.Socket]; ok {
			continue
		}
		var err error
		gone[i], err = hasEnded(c)
		if refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES); refused && complete && c.Socket.Local.IsValid() {
			gone[i] = true
		} else if err != nil {
			failed, failure = failed+1, err
		}
	}
	if failed > 0 {
		failure = fmt.Errorf("the kernel does not tell of %d connections whether their clients have gone: %w", failed, failure)
	}
	return gone, failure
}

// living lists the TCP connections that have not ended. Where the kernel does not
// tell of all, the list is not complete.
func living(connections []Connection) (alive map[sockdiag.Pair]sockdiag.Bytes, complete bool) {
	var ports []uint16
	seen := map[uint16]bool{}
	for _, c := range connections {
		if port := c.Socket.Local.Port(); c.Socket.Local.IsValid() && !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		return nil, true
	}
	if len(ports) > sockdiag.MaxPorts {
		ports = nil // all of them
	}
	alive, err := sockdiag.Connections(ports...)
	return alive, err == nil
}

// hasEnded looks for the connection among the sockets of its process, and
// reports whether it is there and is over.
func hasEnded(c Connection) (bool, error) {
	pidfd, err := unix.PidfdOpen(c.PID, 0)
	if err != nil {
		return false, ifAlive(os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(pidfd)
	directory := "/proc/" + strconv.Itoa(c.PID) + "/fd"
	names, err := descriptors(directory)
	if err != nil {
		return false, ifAlive(err)
	}
	for _, name := range names {
		target, err := os.Readlink(directory + "/" + name)
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		socket, err := unix.PidfdGetfd(pidfd, fd, 0)
		if err == unix.EBADF {
			continue // closed meanwhile
		}
		if err != nil {
			return false, ifAlive(os.NewSyscallError("pidfd_getfd", err))
		}
		found, over := c.look(socket)
		unix.Close(socket)
		if found {
			return over, nil
		}
	}
	return false, nil
}

func descriptors(directory string) ([]string, error) {
	dir, err := os.Open(directory)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// ifAlive returns nil for an error that says that the process has ended.
func ifAlive(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// look reports whether a socket is the connection's, and whether the connection
// is over. A connection has the address of its listener for its own (accept(2)).
func (c Connection) look(socket int) (found, over bool) {
	kind, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false, false
	}
	if listening, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening != 0 {
		return false, false
	}
	own, err := unix.Getsockname(socket)
	if err != nil {
		return false, false
	}
	switch own := own.(type) {
	case *unix.SockaddrUnix:
		if c.Socket.Local.IsValid() || "unix:"+own.Name != c.Local {
			return false, false
		}
		// A unix socket is hung up when neither side can send any more, and not
		// when one cannot (poll(2), unix_poll in net/unix/af_unix.c).
		fds := []unix.PollFd{{Fd: int32(socket)}}
		n, err := unix.Poll(fds, 0)
		return true, err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	case *unix.SockaddrInet4:
		return c.lookTCP(socket, own.Port)
	case *unix.SockaddrInet6:
		return c.lookTCP(socket, own.Port)
	}
	return false, false
}

// lookTCP compares the ports only: the peer of a connection that is over has no
// address any more, and a worker has hardly another connection with this port.
func (c Connection) lookTCP(socket, port int) (found, over bool) {
	if !c.Socket.Local.IsValid() || port != int(c.Socket.Local.Port()) {
		return false, false
	}
	info, err := unix.GetsockoptTCPInfo(socket, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false, false
	}
	return true, info.State == unix.BPF_TCP_CLOSE
}

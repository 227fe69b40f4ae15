package terminal

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// listen opens a listener with a queue of one. A second peer must not get the
// impression that it is connected.
func listen(at config.Address) (net.Listener, error) {
	if err := checkZone(at); err != nil {
		return nil, err
	}
	var settings net.ListenConfig
	settings.SetMultipathTCP(false)
	network, address := networkAddress(at)
	listener, err := settings.Listen(context.Background(), network, address)
	if errors.Is(err, unix.EADDRINUSE) && at.IsUnix() && removeStale(at.Path) {
		listener, err = settings.Listen(context.Background(), network, address)
	}
	if err != nil {
		return nil, err
	}
	raw, err := listener.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { unix.Listen(int(fd), 0) }) // 0 means a queue of one
	}
	if err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// removeStale removes the path of a unix socket without a listener, as a killed program
// leaves it. It reports whether it removed the path. It connects to find out whether a
// program listens. It never removes a file that is no socket.
func removeStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return false
	}
	return errors.Is(err, unix.ECONNREFUSED) && os.Remove(path) == nil
}

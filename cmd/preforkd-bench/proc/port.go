package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
)

// FreePort returns a port that nothing listens on at 127.0.0.1. It lies below
// the kernel's default range for outgoing connections (32768 and up), so the
// load generator's own sockets cannot be in its way.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 20000 + rand.IntN(12000)
		var l net.Listener
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// Listening reports whether some socket listens on a TCP port, of either
// family. It looks instead of connecting: a connection costs a worker.
func Listening(port int) (bool, error) {
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, fmt.Errorf("look for listener: %w", err)
		}
		found, err := listens(f, port)
		f.Close()
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// listens looks for a line in state 0A, TCP_LISTEN, with the port in the local
// address (proc_pid_net(5)). The kernel lists listeners first, and behind them
// can be a hundred thousand connections in TIME_WAIT, so the first line in
// another state ends the search.
func listens(r io.Reader, port int) (bool, error) {
	suffix := fmt.Appendf(nil, ":%04X", port)
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 4 || string(fields[3]) != "0A" {
			break
		}
		if bytes.HasSuffix(fields[1], suffix) {
			return true, nil
		}
	}
	return false, lines.Err()
}

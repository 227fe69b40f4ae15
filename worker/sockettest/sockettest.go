package sockettest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Client is the client's end of a connection. Every operation on it fails after one
// minute. A server that hangs then fails the test with a message.
type Client interface {
	net.Conn
	CloseWrite() error
}

// Each runs a test once for each kind of socket that a worker may get.
func Each(t *testing.T, test func(t *testing.T, connect func(testing.TB) (server int, client Client))) {
	t.Run("tcp", func(t *testing.T) { test(t, TCP) })
	t.Run("unix", func(t *testing.T) { test(t, Unix) })
}

// TCP returns both ends of a connection over the loopback interface. The caller owns
// server. The client is closed when the test ends.
func TCP(t testing.TB) (server int, client Client) {
	t.Helper()
	listener := listen(t, unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	defer unix.Close(listener)
	bound, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: bound.(*unix.SockaddrInet4).Port}
	conn, err := net.DialTCP("tcp", nil, &addr)
	if err != nil {
		t.Fatal(err)
	}
	return accept(t, listener), withDeadline(t, conn)
}

// Unix is TCP over a unix stream socket.
func Unix(t testing.TB) (server int, client Client) {
	t.Helper()
	// t.TempDir contains the test's name and may exceed the 107 bytes of a socket path.
	dir, err := os.MkdirTemp("", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	listener := listen(t, unix.AF_UNIX, &unix.SockaddrUnix{Name: path})
	defer unix.Close(listener)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	return accept(t, listener), withDeadline(t, conn)
}

// Reset makes the client vanish: the server's end gets ECONNRESET. The client must have
// unread bytes, because a unix socket resets only then.
func Reset(t testing.TB, client Client) {
	t.Helper()
	if tcp, ok := client.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
}

func listen(t testing.TB, family int, addr unix.Sockaddr) int {
	t.Helper()
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, addr); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	return fd
}

func accept(t testing.TB, listener int) int {
	t.Helper()
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
}

func withDeadline(t testing.TB, client Client) Client {
	t.Helper()
	t.Cleanup(func() { client.Close() })
	if err := client.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return client
}

package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// silentManager connects to a manager that reads only when the test reads.
func silentManager(t *testing.T) (*Manager, *net.UnixConn, chan error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// A message that does not come must fail the test, and not stop it for
	// ever.
	if err := conn.SetReadDeadline(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	reports := make(chan error, 100)
	m, err := Connect(func(err error) { reports <- err })
	if err != nil {
		t.Fatal(err)
	}
	return m, conn, reports
}

// read reads the next message and closes its descriptors.
func read(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	var text, oob [8192]byte
	n, oobn, _, _, err := conn.ReadMsgUnix(text[:], oob[:])
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	return string(text[:n])
}

// fill fills the queue of the manager's socket.
func fill(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil {
		err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: conn.LocalAddr().String()})
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
}

// A manager that reads late misses only messages that are repeated. It gets
// every listener and the outcome of the start. A message that cannot be sent is
// reported.
func TestLateManager(t *testing.T) {
	m, conn, reports := silentManager(t)
	const listeners = 256 // what the unit has it store at most
	for i := range listeners {
		if err := m.Store(fmt.Sprint("stored.", i), int(os.Stderr.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	m.Ready()
	for range 4 * queueSize {
		m.Alive()
		m.Extend(time.Second)
		m.Status("serving")
	}
	m.Reloading()
	m.Ready()
	m.Stopping()
	stored, ready, alive := 0, 0, 0
	for {
		message := read(t, conn)
		switch {
		case strings.HasPrefix(message, "FDSTORE=1\n"):
			stored++
		case message == "READY=1":
			ready++
		case message == "WATCHDOG=1":
			alive++
		}
		if message == "STOPPING=1" {
			break
		}
	}
	if stored != listeners || ready != 2 {
		t.Errorf("%d listeners were stored, want %d; %d times ready, want 2", stored, listeners, ready)
	}
	if alive > queueSize {
		t.Errorf("%d signs of life waited", alive)
	}
	m.Close()
	if n := len(reports); n != 0 {
		t.Errorf("%d reports, the first: %v", n, <-reports)
	}

	m, conn, reports = silentManager(t)
	fill(t, conn)
	for range 4 * queueSize {
		m.Ready()
	}
	if n := len(reports); n != 1 {
		t.Errorf("%d reports, want 1", n)
	}
}

// A status is always one that a manager accepts: one line of valid UTF-8, in a
// message that is not too long.
func TestStatus(t *testing.T) {
	m, conn, _ := silentManager(t)
	defer m.Close()
	for _, status := range []string{"two\nlines", "not \xff UTF-8", strings.Repeat("é", 10000)} {
		if !m.Status(status) {
			t.Error("the status was left out")
		}
		message := read(t, conn)
		if !strings.HasPrefix(message, "STATUS=") || strings.Contains(message, "\n") || !utf8.ValidString(message) || len(message) > 4096 {
			t.Errorf("%d bytes: %.100q", len(message), message)
		}
	}
}

// A message after Close does no harm.
func TestAfterClose(t *testing.T) {
	m, _, reports := silentManager(t)
	m.Close()
	m.Ready()
	if err := m.Store("stored.x", int(os.Stderr.Fd())); err != nil {
		t.Fatal(err)
	}
	if m.Barrier() == nil {
		t.Error("a barrier was answered")
	}
	m.Close()
	if n := len(reports); n != 0 {
		t.Errorf("%d reports", n)
	}
}

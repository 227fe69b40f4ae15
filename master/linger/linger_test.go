package linger

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

func newCloser(t *testing.T) *Closer {
	t.Helper()
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Run(); close(ended) }()
	t.Cleanup(func() { c.End(); <-ended })
	return c
}

// pair returns a connection as the master has it, and its client's end, over TCP or
// a unix socket.
func pair(t *testing.T, network string) (fd int, client net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	client.SetDeadline(time.Now().Add(slowtest.Scale(time.Minute)))
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	file, err := accepted.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if fd, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil { // as the listener makes them
		t.Fatal(err)
	}
	return fd, client
}

func closeWrite(t *testing.T, client net.Conn) {
	t.Helper()
	if err := client.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, client net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(client, text); err != nil {
		t.Fatal(err)
	}
}

func isOpen(fd int) bool { _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); return err == nil }

// The client gets the whole answer and an orderly end, whatever it has sent before
// the close and sends afterwards.
func TestUnreadAndLate(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, kind := range []Kind{Refused, Served} {
			c := newCloser(t)
			fd, client := pair(t, network)
			send(t, client, strings.Repeat("unread ", 3000))
			if _, err := unix.Write(fd, []byte("answer")); err != nil {
				t.Fatal(err)
			}
			c.Close(fd, kind)
			send(t, client, strings.Repeat("late ", 3000))
			if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
				t.Errorf("%s, %d: %q, %v", network, kind, got, err)
			}
			send(t, client, "and later")
			client.Close()
			slowtest.Await(t, "closed", func() bool { return c.Count() == 0 })
		}
	}
}

// Where the client has ended its side nothing lingers, whatever is unread.
func TestNothingToWaitFor(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		c := newCloser(t)
		fd, client := pair(t, network)
		closeWrite(t, client)
		slowtest.Await(t, "at its end", func() bool {
			n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return n == 0 && err == nil
		})
		c.Close(fd, Served)
		if isOpen(fd) || c.Count() != 0 {
			t.Errorf("%s: lingers", network)
		}
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("%s: %q, %v", network, got, err)
		}
	}
}

// A client that never ends its side is closed after MaxTime, and not before.
func TestTimeIsBounded(t *testing.T) {
	c := newCloser(t)
	begun := time.Now()
	for range 3 {
		fd, _ := pair(t, "tcp")
		c.Close(fd, Served)
	}
	if n := c.Count(); n != 3 {
		t.Errorf("%d linger, want 3", n)
	}
	<-c.Lingering()
	if took := time.Since(begun); took < MaxTime {
		t.Errorf("closed after %v", took)
	}
	// The next one has its time again.
	begun = time.Now()
	fd, _ := pair(t, "tcp")
	c.Close(fd, Served)
	<-c.Lingering()
	if took := time.Since(begun); took < MaxTime {
		t.Errorf("closed after %v", took)
	}
}

// A client that never stops sending is closed after MaxBytes.
func TestBytesAreBounded(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		c := newCloser(t)
		fd, client := pair(t, network)
		c.Close(fd, Served)
		sent, piece := 0, make([]byte, 32<<10)
		for {
			n, err := client.Write(piece)
			if sent += n; err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %d bytes were sent and nothing has ended it", network, sent)
				}
				break
			}
			if c.Count() == 1 && sent > 64<<20 {
				t.Fatalf("%s: %d bytes were taken", network, sent)
			}
		}
		if sent < MaxBytes {
			t.Errorf("%s: only %d bytes were taken", network, sent)
		}
	}
}

// One more than may linger makes the oldest of its kind close, and none of another
// kind.
func TestNumberIsBounded(t *testing.T) {
	old := MaxAtOnce
	MaxAtOnce = [kinds]int{Refused: 2, Served: 4}
	t.Cleanup(func() { MaxAtOnce = old })
	c := newCloser(t)
	served, _ := pair(t, "tcp")
	c.Close(served, Served)
	var clients []net.Conn
	for i := range 10 {
		fd, client := pair(t, "tcp")
		clients = append(clients, client)
		c.Close(fd, Refused)
		if n := c.Count(); n != 1+min(i+1, 2) {
			t.Fatalf("%d linger after %d", n, i+1)
		}
	}
	if !isOpen(served) {
		t.Error("a served connection made room for a refused one")
	}
	for _, client := range clients {
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// What the program has set on its socket lets nobody wait, and a program that wants
// a reset gets it.
func TestLingerOption(t *testing.T) {
	for _, seconds := range []int32{0, 60} {
		c := newCloser(t)
		fd, client := pair(t, "tcp")
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: seconds}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		c.Close(fd, Served)
		_, err := io.ReadAll(client)
		if reset := errors.Is(err, unix.ECONNRESET); reset != (seconds == 0) {
			t.Errorf("linger time %d: %v", seconds, err)
		}
		if seconds == 60 && c.Count() == 1 {
			if l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER); err != nil || l.Onoff != 0 {
				t.Errorf("%+v, %v", l, err)
			}
		}
	}
}

// A connection that somebody else holds as well leaves nothing behind in the poller.
func TestSharedConnection(t *testing.T) {
	c := newCloser(t)
	fd, client := pair(t, "tcp")
	other, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	c.Close(fd, Served)
	closeWrite(t, client)
	slowtest.Await(t, "closed", func() bool { return c.Count() == 0 })
	if err := c.epoll.Remove(other); !errors.Is(err, unix.ENOENT) {
		t.Errorf("take it out: %v, want %v", err, unix.ENOENT)
	}
}

// After End nothing lingers.
func TestEnd(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Run(); close(ended) }()
	first, _ := pair(t, "tcp")
	c.Close(first, Served)
	done := c.Lingering()
	c.End()
	<-done
	<-ended
	second, _ := pair(t, "tcp")
	c.Close(second, Served)
	if isOpen(first) || isOpen(second) {
		t.Error("a connection is open after the end")
	}
}

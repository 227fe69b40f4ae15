package echo

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// An outcome is what a handler left behind.
type outcome struct {
	err     error
	in, out uint64
}

// serve runs a handler on a connection, closes it as Main does, and delivers
// the outcome.
func serve(fd int, a ipc.Assignment, handler worker.Handler) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		c := worker.NewConn(fd, a)
		err := handler(c)
		in, out := c.Bytes()
		c.Close()
		done <- outcome{err, in, out}
	}()
	return done
}

// want waits for a handler's end and compares.
func want(t *testing.T, done <-chan outcome, bytes int) {
	t.Helper()
	got := <-done
	if got.err != nil || got.in != uint64(bytes) || got.out != uint64(bytes) {
		t.Errorf("handler: error %v, %d bytes in, %d out, want nil and %d", got.err, got.in, got.out, bytes)
	}
}

// noise returns n bytes in which a lost, doubled or moved piece shows.
func noise(n int) []byte {
	p := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n)})
	source.Read(p)
	return p
}

// send writes all of data in the background and then half-closes.
func send(t *testing.T, client sockettest.Client, data []byte) {
	go func() {
		if _, err := client.Write(data); err != nil {
			t.Errorf("send: %v", err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Errorf("half-close: %v", err)
		}
	}()
}

func TestEchoReturnsEveryByte(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		for _, size := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, bulkAfter*bufferSize + 1, 16<<20 + 1} {
			server, client := connect(t)
			done := serve(server, ipc.Assignment{}, Serve)
			data := noise(size)
			send(t, client, data)
			back, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(back, data) {
				t.Fatalf("%d bytes sent: %d came back, equal %v, error %v", size, len(back), bytes.Equal(back, data), err)
			}
			want(t, done, size)
		}
	})
}

// A client that asks and waits after a bulk transfer must get the whole
// answer: nothing may be held back for bytes that never come.
func TestEchoAfterBulkTurnsInteractive(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		done := serve(server, ipc.Assignment{}, Serve)
		total := 0
		for range 3 {
			for _, size := range []int{4<<20 + 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, bulkChunk, 1, 100} {
				data := noise(size)
				go client.Write(data)
				back := make([]byte, size)
				if _, err := io.ReadFull(client, back); err != nil || !bytes.Equal(back, data) {
					t.Fatalf("%d bytes: equal %v, error %v", size, bytes.Equal(back, data), err)
				}
				total += size
			}
		}
		client.CloseWrite()
		want(t, done, total)
	})
}

// A client that sends and does not read must be stopped by its own full
// buffers, and lose nothing by it.
func TestEchoBackPressure(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		done := serve(server, ipc.Assignment{}, Serve)
		data := noise(64 << 20)
		sent := 0
		for sent < len(data) {
			client.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			n, err := client.Write(data[sent:])
			sent += n
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if sent == len(data) {
			t.Fatalf("the server took %d bytes that nobody read", sent)
		}
		client.CloseWrite()
		back, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(back, data[:sent]) {
			t.Fatalf("%d bytes sent: %d came back, error %v", sent, len(back), err)
		}
		want(t, done, sent)
	})
}

func TestEchoReset(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		for _, size := range []int{1, 8 << 20} {
			server, client := connect(t)
			done := serve(server, ipc.Assignment{}, Serve)
			go client.Write(noise(size))
			// One byte back shows that the handler is at work; the rest of
			// what it sends is what the reset destroys.
			if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if size == 1 {
				client.Write([]byte("unread"))
				waitReadable(t, client)
			}
			sockettest.Reset(t, client)
			if got := <-done; !errors.Is(got.err, worker.ErrPeerGone) {
				t.Errorf("%d bytes: handler returned %v, want ErrPeerGone", size, got.err)
			}
		}
	})
}

// waitReadable returns when there is something to read, without reading it.
func waitReadable(t *testing.T, client sockettest.Client) {
	t.Helper()
	raw, err := client.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var polled error
	err = raw.Control(func(fd uintptr) {
		for {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if _, polled = unix.Poll(fds, 60_000); polled != unix.EINTR {
				return
			}
		}
	})
	if err != nil || polled != nil {
		t.Fatal(err, polled)
	}
}

// The idle limit ends a connection whichever way its bytes travelled last.
func TestEchoIdle(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		for _, size := range []int{0, 1, 8 << 20} {
			data := noise(size) // before the limit runs: a busy machine takes its time
			server, client := connect(t)
			done := serve(server, ipc.Assignment{Limits: ipc.Limits{Idle: slowtest.Scale(500 * time.Millisecond)}}, Serve)
			go client.Write(data)
			back := make([]byte, size)
			if n, err := io.ReadFull(client, back); err != nil {
				t.Fatalf("%d of %d bytes came back, %v", n, size, err)
			}
			go func() {
				io.Copy(io.Discard, client)
				client.Close()
			}()
			if got := <-done; !errors.Is(got.err, worker.ErrIdle) {
				t.Errorf("%d bytes: handler returned %v", size, got.err)
			}
		}
	})
}

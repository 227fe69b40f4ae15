package worker

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

func TestConnReadsWritesAndCounts(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		c := NewConn(server, ipc.Assignment{
			Connection: "c7", Service: "s", Peer: "p:1", Local: "l:2",
			Settings: []ipc.Pair{{Key: "k", Value: "v"}},
		})
		defer c.Close()
		if got := []string{c.ID(), c.Service(), c.Peer(), c.Local(), c.Setting("k"), c.Setting("none")}; strings.Join(got, " ") != "c7 s p:1 l:2 v " {
			t.Errorf("assignment: %q", got)
		}
		client.Write([]byte("question"))
		client.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "question" || err != nil {
			t.Errorf("read: %q, %v", got, err)
		}
		// After a half-close the other direction still works. One Write may be larger
		// than any socket buffer.
		answer := bytes.Repeat([]byte("answer"), 1<<20)
		written := make(chan struct{})
		go func() {
			defer close(written)
			if n, err := c.Write(answer); n != len(answer) || err != nil {
				t.Errorf("write: %d, %v", n, err)
			}
			for range 2 {
				if err := c.CloseWrite(); err != nil {
					t.Errorf("half-close: %v", err)
				}
			}
		}()
		if got, err := io.ReadAll(client); !bytes.Equal(got, answer) || err != nil {
			t.Errorf("client got %d of %d bytes, %v", len(got), len(answer), err)
		}
		<-written
		c.AddBytes(1, 2)
		if in, out := c.Bytes(); in != 8+1 || out != uint64(len(answer))+2 {
			t.Errorf("%d bytes in, %d out", in, out)
		}
	})
}

func TestPeerGoneErrors(t *testing.T) {
	server, client := sockettest.TCP(t)
	c := NewConn(server, ipc.Assignment{})
	sockettest.Reset(t, client)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrPeerGone) || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, ErrPeerGone) || !errors.Is(err, unix.EPIPE) {
		t.Errorf("write: %v", err)
	}
	if err := c.CloseWrite(); !errors.Is(err, ErrPeerGone) {
		t.Errorf("half-close: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for _, err := range []error{c.WrapError("read from", unix.EBADF), c.WrapError("read from", unix.ENOTCONN), unix.EPIPE} {
		if errors.Is(err, ErrPeerGone) {
			t.Errorf("%v counts as the client's doing", err)
		}
	}
}

// The answer must arrive although the client has sent more than was read. A plain close
// would reset the connection and could destroy the answer.
func TestCloseDeliversAnswer(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		c := NewConn(server, ipc.Assignment{})
		if _, err := client.Write(make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		answer := bytes.Repeat([]byte("a"), 100<<10)
		if _, err := c.Write(answer); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		if got, err := io.ReadAll(client); !bytes.Equal(got, answer) || err != nil {
			t.Errorf("client got %d of %d bytes, %v", len(got), len(answer), err)
		}
		client.Close()
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// A client that never stops sending delays a worker only for a bounded time. So does a
// client that never closes.
func TestCloseIsBounded(t *testing.T) {
	server, client := sockettest.TCP(t)
	c := NewConn(server, ipc.Assignment{})
	go func() {
		for {
			if _, err := client.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	server, _ = sockettest.Unix(t)
	if err := NewConn(server, ipc.Assignment{}).Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

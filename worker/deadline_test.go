package worker

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

func TestReadDeadline(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		c := NewConn(server, ipc.Assignment{})
		defer c.Close()
		defer client.Close()
		for _, after := range []time.Duration{-time.Hour, 0, 10 * time.Millisecond} {
			c.SetReadDeadline(time.Now().Add(after))
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read with a deadline after %v: %d, %v", after, n, err)
			}
		}
		// The deadline stays in force and applies to one direction. It can be moved and
		// removed.
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read again: %v", err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Errorf("write: %v", err)
		}
		client.Write([]byte("12"))
		c.SetDeadline(time.Now().Add(time.Hour))
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("read with a later deadline: %d, %v", n, err)
		}
		c.SetReadDeadline(time.Time{})
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("read without a deadline: %d, %v", n, err)
		}
		client.CloseWrite()
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read at the end: %v", err)
		}
	})
}

func TestWriteDeadline(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		c := NewConn(server, ipc.Assignment{})
		defer c.Close()
		defer client.Close()
		c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.Write(make([]byte, 64<<20)) // more than any socket buffer
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 64<<20 {
			t.Errorf("write: %d, %v", n, err)
		}
		if _, out := c.Bytes(); out != uint64(n) {
			t.Errorf("%d bytes written, %d counted", n, out)
		}
	})
}

// A deadline ends calls that already wait, in both directions at the same time.
func TestDeadlineInterrupts(t *testing.T) {
	server, client := sockettest.TCP(t)
	c := NewConn(server, ipc.Assignment{})
	defer c.Close()
	defer client.Close()
	c.SetDeadline(time.Time{})
	ends := make(chan error, 2)
	go func() { _, err := c.Read(make([]byte, 1)); ends <- err }()
	go func() { _, err := c.Write(make([]byte, 64<<20)); ends <- err }()
	// The write has certainly begun to wait only when the buffers are full.
	for moved := uint64(0); ; {
		time.Sleep(5 * time.Millisecond)
		_, out := c.Bytes()
		if out > 0 && out == moved {
			break
		}
		moved = out
	}
	c.SetDeadline(time.Now())
	for range 2 {
		if err := <-ends; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
}

func TestConnWithDeadlinesMovesEverything(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		c := NewConn(server, ipc.Assignment{Limits: ipc.Limits{Idle: time.Hour}})
		c.SetDeadline(time.Now().Add(time.Hour))
		data := bytes.Repeat([]byte("0123456789"), 1<<19)
		go func() {
			client.Write(data)
			client.CloseWrite()
		}()
		done := make(chan error)
		go func() {
			_, err := io.Copy(c, c)
			c.Close()
			done <- err
		}()
		if got, err := io.ReadAll(client); !bytes.Equal(got, data) || err != nil {
			t.Errorf("%d of %d bytes came back, %v", len(got), len(data), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

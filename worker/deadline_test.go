package worker

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

const shortIdle = 40 * time.Millisecond

// Both ways of waiting apply the idle limit, and so do a handler's own system calls.
func TestIdleLimit(t *testing.T) {
	for name, call := range map[string]func(c *Conn) error{
		"read":              func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"write":             func(c *Conn) error { _, err := c.Write(make([]byte, 64<<20)); return err },
		"read with context": func(c *Conn) error { c.Context(); _, err := c.Read(make([]byte, 1)); return err },
		"write with context": func(c *Conn) error {
			c.Context()
			_, err := c.Write(make([]byte, 64<<20))
			return err
		},
		"own call": func(c *Conn) error {
			var err error
			for err = unix.EINTR; err == unix.EINTR; {
				_, err = unix.Read(c.FD(), make([]byte, 1))
			}
			return c.WrapError("read from", err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := sockettest.TCP(t)
			c := NewConn(server, ipc.Assignment{Limits: ipc.Limits{Idle: shortIdle}})
			defer c.Close()
			defer client.Close()
			for range 2 {
				if err := call(c); !errors.Is(err, ErrIdle) {
					t.Errorf("%v", err)
				}
			}
			if code, reason, _ := classifyEnd(c, nil, false); code != ipc.ExitIdle || reason != ipc.ReasonIdle {
				t.Errorf("%s, %s", ipc.ExitName(code), reason)
			}
		})
	}
}

// A connection is not idle while its writer still writes, although its reader waits.
func TestOtherDirectionIsNotIdle(t *testing.T) {
	const idle = time.Second
	for range 10 {
		pause, err := readWhileWriting(t, idle)
		switch {
		case err == nil:
			return
		case pause < idle/2 || !errors.Is(err, ErrIdle):
			t.Fatalf("read with at most %v between two writes: %v", pause, err)
		}
		// On a busy machine the writer paused so long that the limit was rightly
		// reached.
	}
	t.Fatal("no writer could write often enough")
}

// readWhileWriting reads on a connection while another goroutine writes to it for twice
// the idle limit. Then the reader gets one byte. It returns the longest pause between
// two writes, and the reader's error.
func readWhileWriting(t *testing.T, idle time.Duration) (pause time.Duration, err error) {
	server, client := sockettest.TCP(t)
	c := NewConn(server, ipc.Assignment{Limits: ipc.Limits{Idle: idle}})
	defer c.Close()
	defer client.Close()
	read := make(chan error, 1)
	start := time.Now()
	last := start
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	go io.Copy(io.Discard, client)
	for last.Sub(start) < 2*idle {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		pause, last = max(pause, now.Sub(last)), now
		time.Sleep(idle / 50)
	}
	client.Write([]byte("x"))
	err = <-read
	return max(pause, time.Since(last)), err
}

func TestAbortEndsWaitingCalls(t *testing.T) {
	for reason, want := range map[ipc.Reason]error{
		ipc.ReasonLifetime: ErrLifetime,
		ipc.ReasonIdle:     ErrIdle,
		"other":            ErrAborted,
	} {
		server, client := sockettest.TCP(t)
		c := NewConn(server, ipc.Assignment{})
		read := make(chan error)
		go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
		if _, err := c.Write([]byte("before")); err != nil {
			t.Fatal(err)
		}
		c.Abort(reason)
		c.Abort("too late")
		if err := <-read; !errors.Is(err, want) {
			t.Errorf("read: %v", err)
		}
		if _, err := c.Write([]byte("after")); !errors.Is(err, want) {
			t.Errorf("write: %v", err)
		}
		if _, got, _ := classifyEnd(c, c.Err(), false); got != reason {
			t.Errorf("reason %s, want %s", got, reason)
		}
		c.Close()
		if got, err := io.ReadAll(client); string(got) != "before" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
		c.Abort("the descriptor is somebody else's now")
	}
}

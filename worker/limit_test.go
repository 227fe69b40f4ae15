package worker

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/worker/sockettest"
)

const shortIdle = 40 * time.Millisecond

// Both ways of waiting keep the idle limit, and a handler's own calls do.
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
			return c.Error("read from", err)
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
			if code, reason, _ := verdict(c, nil, false); code != ipc.ExitIdle || reason != ipc.ReasonIdle {
				t.Errorf("%s, %s", ipc.ExitName(code), reason)
			}
		})
	}
}

// A reader whose writer is at work is not idle.
func TestOtherDirectionIsNotIdle(t *testing.T) {
	idle := slowtest.Scale(time.Second)
	for range 10 {
		pause, err := readWhileWriting(t, idle)
		switch {
		case err == nil:
			return
		case pause < idle/2 || !errors.Is(err, ErrIdle):
			t.Fatalf("read with at most %v between two writes: %v", pause, err)
		}
		// A busy machine has let the writer pause for so long that the limit
		// may have been reached for good reason.
	}
	t.Fatal("no writer could write often enough")
}

// readWhileWriting reads on a connection that is written to for twice its idle
// limit and then gets a byte. It returns the longest pause between two writes,
// and what the reader got.
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

func TestAbortEndsWhatWaits(t *testing.T) {
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
		if _, got, _ := verdict(c, c.Ended(), false); got != reason {
			t.Errorf("reason %s, want %s", got, reason)
		}
		c.Close()
		if got, err := io.ReadAll(client); string(got) != "before" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
		c.Abort("the descriptor is somebody else's now")
	}
}

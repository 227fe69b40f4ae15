package worker

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
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
	const idle = time.Second // far more than a pause that a busy machine makes
	server, client := sockettest.TCP(t)
	c := NewConn(server, ipc.Assignment{Limits: ipc.Limits{Idle: idle}})
	defer c.Close()
	read := make(chan error)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	go io.Copy(io.Discard, client)
	for start := time.Now(); time.Since(start) < 2*idle; time.Sleep(idle / 50) {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-read:
			// The pause between two writes may have been long on a busy
			// machine; then the limit was reached for good reason.
			t.Skipf("the machine was too busy: %v", err)
		default:
		}
	}
	client.Write([]byte("x"))
	if err := <-read; err != nil {
		t.Error(err)
	}
	client.Close()
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

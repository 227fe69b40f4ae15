package main

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// sleeping is a program that says that it is there, and then neither reads nor
// writes.
const sleeping = `program = ["/bin/sh", "-c", "echo ready; exec sleep 1000"]`

// stateOfConnection returns the state of a connection in the status, or "".
func stateOfConnection(t *testing.T, m *systest.Master, id string) string {
	t.Helper()
	for _, c := range looked(t, m).Connections {
		if c.ID == id {
			return c.State
		}
	}
	return ""
}

// A worker that does not notice that its client has gone ends where the service
// wants that, and is shown elsewhere. A half-closed client has not gone.
func TestHangUp(t *testing.T) {
	t.Parallel()
	for _, handoff := range []string{"stdio", "worker"} {
		for _, network := range []string{"tcp", "unix"} {
			for _, key := range []string{"keep", "term"} {
				t.Run(fmt.Sprint(handoff, " ", network, " ", key), func(t *testing.T) {
					t.Parallel()
					program := sleeping
					if handoff == "worker" {
						program = `program = ["/bin/sh", "-c", "echo ready >&3; exec sleep 1000"]`
					}
					path := filepath.Join(systest.Dir(t), "s")
					listen := map[string]string{"tcp": "127.0.0.1:0", "unix": "unix:" + path}[network]
					m := configured(t, 1, fmt.Sprintf("[service.one]\nlisten = [%q]\n%s\nhandoff = %q\nhang-up = %q\nhang-up-grace = \"0s\"\n", listen, program, handoff, key))
					half := m.Dial(t)
					half.Expect(t, "ready\n")
					id := m.WaitFor(t, systest.Is(systest.Accepted)).Conn
					half.CloseWrite(t)
					gone := m.Dial(t)
					gone.Expect(t, "ready\n")
					conn := m.Wait(t, 2, systest.Is(systest.Accepted))[1]
					if network == "tcp" {
						gone.Reset(t)
					} else {
						gone.Close()
					}
					e := m.WaitFor(t, systest.Of("client gone", conn.Conn))
					if e.Reason != key {
						t.Errorf("%s", e.Line)
					}
					switch key {
					case "term":
						end := m.WaitFor(t, systest.Ends(conn.Conn))
						if end.Signal != "SIGTERM" || end.Reason != "hang-up" {
							t.Errorf("%s", end.Line)
						}
					case "keep":
						if state := stateOfConnection(t, m, conn.Conn); state != "gone" {
							t.Errorf("state %q", state)
						}
						told(t, m, "kill", conn.Conn)
						if end := m.WaitFor(t, systest.Ends(conn.Conn)); end.Reason == "hang-up" {
							t.Errorf("%s", end.Line)
						}
					}
					if state := stateOfConnection(t, m, id); state != "serving" {
						t.Errorf("the half-closed client's connection is %q", state)
					}
					if e := m.Events(systest.Of("client gone", id)); len(e) > 0 {
						t.Errorf("%s", e[0].Line)
					}
					told(t, m, "kill", id)
					m.WaitFor(t, systest.Ends(id))
				})
			}
		}
	}
}

// A client that has closed its connection has gone when its kernel knows the
// connection no more, and keepalive asks for it.
func TestHangUpOfClosedClient(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(sleeping, `hang-up = "term"`, `hang-up-grace = "0s"`, `keepalive = "1s"`))
	c := m.Dial(t)
	c.Expect(t, "ready\n")
	conn := c.Accepted(t).Conn
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// Its kernel forgets the connection after a second; by default after a minute
	// (tcp_fin_timeout).
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_LINGER2, 1) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if end := m.WaitFor(t, systest.Ends(conn)); end.Reason != "hang-up" {
		t.Errorf("%s", end.Line)
	}
}

// A program that has closed its connection has its time for what it does next.
func TestHangUpAfterClose(t *testing.T) {
	t.Parallel()
	gate := systest.NewGate(t)
	m := configured(t, 1, single(`program = ["/bin/sh", "-c", "echo ready; exec <&- >&-; read line <`+gate.Path+`; exit 7"]`,
		`hang-up = "term"`, `hang-up-grace = "0s"`))
	closed := m.Dial(t)
	closed.Expect(t, "ready\n")
	conn := closed.Accepted(t).Conn
	closed.Close()
	gone := configured(t, 1, single(sleeping, `hang-up = "term"`, `hang-up-grace = "0s"`)) // by its clock, four checks pass
	for range 4 {
		c := gone.Dial(t)
		c.Expect(t, "ready\n")
		id := c.Accepted(t).Conn
		c.Reset(t)
		gone.WaitFor(t, systest.Ends(id))
	}
	gate.Open(t)
	if end := m.WaitFor(t, systest.Ends(conn)); end.Signal != "" || end.Code() != 7 {
		t.Errorf("%s", end.Line)
	}
}

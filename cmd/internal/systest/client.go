package systest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Listener is an address that a master listens on.
type Listener struct {
	Network string // "tcp" or "unix"
	Address string // as net.Dial takes it
	Service string
}

// Port returns the port of a TCP listener.
func (l Listener) Port() string {
	_, port, _ := net.SplitHostPort(l.Address)
	return port
}

func parseListener(e Event) Listener {
	l := Listener{Network: "tcp", Address: e.Local, Service: e.Service}
	path, ok := strings.CutPrefix(e.Local, "unix:")
	if ok || strings.HasPrefix(path, "/") || strings.HasPrefix(path, "@") {
		l.Network, l.Address = "unix", path
	}
	return l
}

// A Client is a connection to a master. Everything on it fails after Deadline.
type Client struct {
	net.Conn
	m *Master
}

// Dial connects to the master's first listener.
func (m *Master) Dial(t testing.TB) *Client {
	t.Helper()
	return m.DialTo(t, m.Listeners[0].Network, m.Listeners[0].Address)
}

// DialTo connects to an address. The connection is closed at the end of the
// test at the latest.
func (m *Master) DialTo(t testing.TB, network, address string) *Client {
	t.Helper()
	c, err := m.tryDial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// DialAll opens n connections to the first listener, one after the other.
func (m *Master) DialAll(t testing.TB, n int) []*Client {
	t.Helper()
	clients := make([]*Client, n)
	for i := range clients {
		clients[i] = m.Dial(t)
	}
	return clients
}

func (m *Master) tryDial(network, address string) (*Client, error) {
	conn, err := net.DialTimeout(network, address, Deadline())
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(Deadline()))
	return &Client{conn, m}, nil
}

// TryDial connects to the first listener for a caller that is not the test's
// own goroutine, and closes nothing by itself.
func (m *Master) TryDial() (*Client, error) {
	return m.tryDial(m.Listeners[0].Network, m.Listeners[0].Address)
}

// Send writes all of s.
func (c *Client) Send(t testing.TB, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// Expect reads exactly as many bytes as want has and compares.
func (c *Client) Expect(t testing.TB, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("read %q, then: %v; want %q", got[:n], err, want)
	}
	if string(got) != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// Echo sends s and expects it back.
func (c *Client) Echo(t testing.TB, s string) {
	t.Helper()
	c.Send(t, s)
	c.Expect(t, s)
}

// TryEcho is Echo for goroutines that are not the test's own.
func (c *Client) TryEcho(s string) error {
	if _, err := io.WriteString(c, s); err != nil {
		return err
	}
	got := make([]byte, len(s))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, []byte(s)) {
		return errors.New("other bytes came back")
	}
	return nil
}

// CloseWrite ends the client's direction and leaves the other open.
func (c *Client) CloseWrite(t testing.TB) {
	t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatalf("half-close: %v", err)
	}
}

// Reset closes a TCP connection with a reset.
func (c *Client) Reset(t testing.TB) {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// ExpectEnd reads to the end of the stream, which must be an orderly one, and
// returns what came before it.
func (c *Client) ExpectEnd(t testing.TB) string {
	t.Helper()
	rest, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read %d bytes, then: %v; want the end of the stream", len(rest), err)
	}
	return string(rest)
}

// ExpectGone waits until the connection has ended, in order or by a reset.
func (c *Client) ExpectGone(t testing.TB) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("wait for the end of the connection: %v", err)
	}
}

// Accepted waits until the master has accepted this TCP connection and returns
// the event.
func (c *Client) Accepted(t testing.TB) Event {
	t.Helper()
	peer, port := c.LocalAddr().String(), fmt.Sprintf(":%d", c.RemoteAddr().(*net.TCPAddr).Port)
	// Connections to two listeners may have the same port at this end.
	return c.m.WaitFor(t, func(e Event) bool {
		return e.Msg == Accepted && e.Peer == peer && strings.HasSuffix(e.Local, port)
	})
}

// End waits for the event that ends this TCP connection.
func (c *Client) End(t testing.TB) Event {
	t.Helper()
	return c.m.WaitFor(t, Ends(c.Accepted(t).Conn))
}

// Worker waits for the worker of this TCP connection and returns its pid.
func (c *Client) Worker(t testing.TB) int {
	t.Helper()
	return c.m.Worker(t, c.Accepted(t))
}

// Worker waits for the worker of an accepted connection and returns its pid.
func (m *Master) Worker(t testing.TB, accepted Event) int {
	t.Helper()
	if accepted.PID > 0 && !m.OwnPIDs {
		return accepted.PID
	}
	pid := 0
	Until(t, "a worker for connection "+accepted.Conn, func() bool {
		for _, p := range Children(m.PID) {
			if p.State != 'Z' && Getenv(p.PID, "PREFORKD_CONNECTION") == accepted.Conn {
				pid = p.PID
				return true
			}
		}
		return false
	}, nil)
	return pid
}

// Wrap makes a Client of a connection to this master that was made elsewhere.
func (m *Master) Wrap(conn net.Conn) *Client {
	conn.SetDeadline(time.Now().Add(Deadline()))
	return &Client{conn, m}
}

package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Where many connections last, the master does not hold their control channels
// where every spawn has to copy them, and still hears what their workers report
// and tells them to come to an end.
func TestManyLongConnections(t *testing.T) {
	const n = 500
	m := systest.Start(t, sdk(t, "--max-connections 2000", "goodbye")...)
	clients := m.DialAll(t, n)
	for _, c := range clients {
		c.Echo(t, "hello\n")
	}
	sockets := func() (n int) {
		for _, fd := range systest.FDs(m.PID) {
			if strings.HasPrefix(fd.Target, "socket:") {
				n++
			}
		}
		return n
	}
	// They are moved when others come.
	systest.Until(t, "few sockets among the master's", func() bool {
		// One at a time: young connections are not moved, and at a high rate there
		// are more than 400 of them.
		c := m.Dial(t)
		c.Echo(t, "more\n")
		clients = append(clients, c)
		return sockets() < 400
	}, nil)

	first := clients[0]
	first.CloseWrite(t)
	if end := first.End(t); end.Reason != "eof" || end.BytesIn == nil || *end.BytesIn != int64(len("hello\n")) {
		t.Errorf("unexpected end: %s", end.Line)
	}
	second := clients[1]
	if err := syscall.Kill(second.Worker(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if end := second.End(t); end.Signal != "SIGKILL" {
		t.Errorf("unexpected end: %s", end.Line)
	}

	m.Signal(t, syscall.SIGTERM)
	for i, c := range clients[2:] {
		if rest := c.ExpectEnd(t); rest != "goodbye\n" {
			t.Fatalf("client %d: %q at the end", i, rest)
		}
	}
	for _, c := range clients[2:] {
		if end := c.End(t); end.Reason != "drain" {
			t.Fatalf("unexpected end: %s", end.Line)
		}
	}
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

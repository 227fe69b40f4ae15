package control

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
)

// settled starts to wait for the clients of a server, and returns a channel that is closed
// when the wait is over.
func settled(s *Server) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.Settle(slowtest.Scale(time.Minute))
	}()
	return over
}

// within fails the test if a channel is not closed.
func within(t *testing.T, over <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-over:
	case <-time.After(slowtest.Scale(30 * time.Second)):
		t.Errorf("%s: the clients are still waited for", what)
	}
}

// notYet fails the test if a channel is closed.
func notYet(t *testing.T, over <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-over:
		t.Errorf("%s is not waited for", what)
	case <-time.After(20 * time.Millisecond):
	}
}

// Those whom the server has accepted get their answer, and those that come then wait.
func TestSettle(t *testing.T) {
	b := &fakeBackend{status: make(chan Status)}
	s := serving(t, b)
	c := clientFor(t, s.Path())
	answered := make(chan error, 2)
	ask := func(c *Client) {
		_, err := c.Status(t.Context())
		answered <- err
	}
	go ask(c)
	for s.socket.clients.areSettled() { // until it has come
		time.Sleep(time.Millisecond)
	}
	s.Pause()
	s.Pause() // changes nothing
	over := settled(s)
	notYet(t, over, "a request")
	go ask(clientFor(t, s.Path()))
	b.status <- Status{}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	within(t, over, "one is answered, and its connection is idle, and another one waits outside")

	begun := time.Now()
	s.Settle(time.Hour)
	if time.Since(begun) > slowtest.Scale(time.Minute) {
		t.Error("an idle connection is waited for")
	}
	s.Resume()
	b.status <- Status{}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// A client that has come and not asked yet is waited for, but not for ever.
func TestSettleIsBounded(t *testing.T) {
	s := serving(t, &fakeBackend{})
	conn, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	for s.socket.clients.areSettled() {
		time.Sleep(time.Millisecond)
	}
	s.Pause()
	s.Settle(time.Millisecond)
	over := settled(s)
	notYet(t, over, "a client that has just come")
	conn.Close()
	within(t, over, "the client has gone")
	s.Resume()
}

// A waiting backend has an upgrade wait until a channel is closed.
type waiting struct {
	fakeBackend
	begun, end chan struct{}
}

func (b *waiting) Upgrade(context.Context, UpgradeRequest, Peer, *Waiter) (Upgraded, error) {
	close(b.begun)
	<-b.end
	return Upgraded{}, nil
}

// The client that waits for the upgrade is not one that the upgrade waits for.
func TestSettleDuringUpgrade(t *testing.T) {
	b := &waiting{begun: make(chan struct{}), end: make(chan struct{})}
	s := serving(t, b)
	answered := make(chan error, 1)
	c := clientFor(t, s.Path())
	go func() {
		_, err := c.Upgrade(t.Context(), UpgradeRequest{})
		answered <- err
	}()
	<-b.begun
	s.Pause()
	within(t, settled(s), "the client waits for the upgrade")
	close(b.end)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	s.Resume()
}

// A paused server can be closed.
func TestCloseWhilePaused(t *testing.T) {
	s := serving(t, &fakeBackend{})
	s.Pause()
	conn, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	time.Sleep(5 * time.Millisecond) // so that it is likely that the server has noticed
}

// A server whose socket is no file at a path cannot go over.
func TestRestoreServerWithoutFile(t *testing.T) {
	for _, text := range []string{
		`{}`,
		`{"listener":{"fd":5,"local":"127.0.0.1:7","path":"","directory":-1}}`,
		`{"listener":{"fd":5,"local":"","path":"QGE=","directory":-1}}`,
		`{"listener":{"fd":6,"local":"","path":"L3g=","file_device":1,"file_inode":2,"directory":-1}}`,
	} {
		var state ServerState
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatal(err)
		}
		d := carry.NewDescriptors()
		d.Keep(5)
		if s, err := RestoreServer(&state, d, zap.NewNop()); err == nil {
			t.Errorf("%s: %v", text, s)
		}
	}
}

package control

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeBackend answers without a master. If status is set, Status waits for
// it.
type fakeBackend struct {
	status chan Status
	level  string
	calls  []string
}

// newServer makes a server without a socket, which runs as a user.
func newServer(b Backend, self uint32) *Server {
	s := &Server{backend: b, self: self}
	s.routes = s.newRoutes()
	return s
}

func (b *fakeBackend) Status(ctx context.Context) (Status, error) {
	if b.status == nil {
		return Status{Master: Master{State: "serving", Problems: []Problem{}}}, nil
	}
	select {
	case s := <-b.status:
		return s, nil
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}

func (b *fakeBackend) Explain(_ context.Context, address, service string) (Explained, error) {
	if address == "nobody" {
		return Explained{}, Errorf(Invalid, "address %q: must be an IP address", address)
	}
	until := time.Unix(1, 0).UTC()
	return Explained{[]Explanation{{Service: service, Address: address, Outcome: OutcomeRefused, Reason: "rate", Until: &until}}}, nil
}

func (b *fakeBackend) Drain(_ context.Context, service string, by Peer) (Drained, error) {
	b.calls = append(b.calls, "drain "+service+" by "+by.String())
	if service == "nothing" {
		return Drained{}, Errorf(NotFound, "there is no service %q", service)
	}
	return Drained{Service: service, State: "draining", Live: 2}, nil
}

func (b *fakeBackend) Resume(_ context.Context, service string, by Peer) (Resumed, error) {
	b.calls = append(b.calls, "resume "+service+" by "+by.String())
	return Resumed{Service: service, State: "serving", Listeners: []string{}}, nil
}

func (b *fakeBackend) Reload(context.Context) (Reloaded, error) {
	e := Errorf(InvalidConfig, "not reloaded: f:1:2: wrong")
	e.ConfigErrors = []string{"f:1:2: wrong", "f:2:3: wrong, too"}
	return Reloaded{}, e
}

func (b *fakeBackend) Upgrade(_ context.Context, r UpgradeRequest, by Peer, w *Waiter) (Upgraded, error) {
	b.calls = append(b.calls, fmt.Sprintf("upgrade to %q with %q, check %v by %v", r.Binary, r.Config, r.Check, by))
	if r.Check {
		return Upgraded{From: "1", To: "2", Check: true}, nil
	}
	if _, err := w.Detach(); err != nil {
		return Upgraded{}, err
	}
	if r.Config == "/wrong" {
		return Upgraded{}, NotUpgraded("rehearsal", errors.New("it broke"))
	}
	return Upgraded{From: "1", To: "2", Workers: 3, Generation: 2}, nil
}

func (b *fakeBackend) Kill(_ context.Context, connection string, sig unix.Signal, by Peer) (Killed, error) {
	b.calls = append(b.calls, "kill "+connection+" with "+SignalName(sig)+" by "+by.String())
	return Killed{Connection: connection, Signal: SignalName(sig)}, nil
}

func (b *fakeBackend) Learn(_ context.Context, service string, by Peer) (Learned, error) {
	b.calls = append(b.calls, "learn "+service+" by "+by.String())
	return Learned{ID: "a", Service: service}, nil
}

func (b *fakeBackend) Learned(_ context.Context, id string, end bool) (Learned, error) {
	b.calls = append(b.calls, fmt.Sprintf("learned %s, end %v", id, end))
	return Learned{ID: id, SystemCalls: []string{"read"}}, nil
}

func (b *fakeBackend) LogLevel() string { return b.level }

func (b *fakeBackend) SetLogLevel(_ context.Context, level string, _ Peer) (LogLevel, error) {
	if level == "loud" {
		return LogLevel{}, errors.New("it broke")
	}
	l := LogLevel{level, b.level}
	b.level = level
	return l, nil
}

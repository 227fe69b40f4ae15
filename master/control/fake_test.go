package control

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A played master answers without there being any. status, if it is set, is
// what a look waits for.
type played struct {
	status chan Status
	level  string
	asked  []string
}

func (p *played) Status(ctx context.Context) (Status, error) {
	if p.status == nil {
		return Status{Master: Master{State: "serving", Problems: []Problem{}}}, nil
	}
	select {
	case s := <-p.status:
		return s, nil
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}

func (p *played) Explain(_ context.Context, address, service string) (Explained, error) {
	if address == "nobody" {
		return Explained{}, Errorf(Invalid, "address %q: must be an IP address", address)
	}
	until := time.Unix(1, 0).UTC()
	return Explained{[]Explanation{{Service: service, Address: address, Outcome: OutcomeRefused, Reason: "rate", Until: &until}}}, nil
}

func (p *played) Drain(_ context.Context, service string, by Peer) (Drained, error) {
	p.asked = append(p.asked, "drain "+service+" by "+by.String())
	if service == "nothing" {
		return Drained{}, Errorf(NotFound, "there is no service %q", service)
	}
	return Drained{Service: service, State: "draining", Live: 2}, nil
}

func (p *played) Reload(context.Context) (Reloaded, error) {
	e := Errorf(Mistaken, "not reloaded: f:1:2: wrong")
	e.Mistakes = []string{"f:1:2: wrong", "f:2:3: wrong, too"}
	return Reloaded{}, e
}

func (p *played) Kill(_ context.Context, connection string, sig unix.Signal, by Peer) (Killed, error) {
	p.asked = append(p.asked, "kill "+connection+" with "+SignalName(sig)+" by "+by.String())
	return Killed{Connection: connection, Signal: SignalName(sig)}, nil
}

func (p *played) LogLevel() string { return p.level }

func (p *played) SetLogLevel(_ context.Context, level string, _ Peer) (LogLevel, error) {
	if level == "loud" {
		return LogLevel{}, errors.New("it broke")
	}
	l := LogLevel{level, p.level}
	p.level = level
	return l, nil
}

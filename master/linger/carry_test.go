package linger

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
)

// over pauses a Closer, and returns one that takes over from it and that does not run.
func over(t *testing.T, c *Closer) (*Closer, *State) {
	t.Helper()
	c.Pause()
	d := carry.NewDescriptors()
	before := c.Export(d)
	state, copies := carrytest.Again(t, &before, d)
	next, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Restore(state, copies); err != nil {
		t.Fatal(err)
	}
	carrytest.Same(t, next.Export(carry.NewDescriptors()), *state)
	// The former program is gone.
	c.Resume()
	return next, state
}

// What lingers goes on lingering, and what comes meanwhile is discarded afterwards.
func TestLingersOn(t *testing.T) {
	c := newCloser(t)
	var clients []net.Conn
	for _, kind := range []Kind{Served, Refused, Served} {
		fd, client := pair(t, "tcp")
		c.Close(fd, kind)
		clients = append(clients, client)
	}
	next, state := over(t, c)
	if len(state.Lingering) != 3 || next.Count() != 3 {
		t.Fatalf("%d connections go over, %d are there; want 3", len(state.Lingering), next.Count())
	}
	c.mu.Lock()
	for _, e := range c.entries {
		c.finish(e)
	}
	c.mu.Unlock()
	ended := make(chan struct{})
	go func() { next.Run(); close(ended) }()
	t.Cleanup(func() { next.End(); <-ended })
	send(t, clients[0], "more")
	closeWrite(t, clients[0])
	closeWrite(t, clients[1])
	closeWrite(t, clients[2])
	next.Resume()
	select {
	case <-next.Lingering():
	case <-time.After(slowtest.Scale(time.Minute)):
		t.Fatalf("%d connections still linger", next.Count())
	}
	for i, client := range clients {
		if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("client %d read %d bytes, %v; want the end", i, n, err)
		}
	}
}

// A client that does not end its side gets no more time than before.
func TestDeadlineGoesOver(t *testing.T) {
	c := newCloser(t)
	fd, _ := pair(t, "tcp")
	c.Close(fd, Served)
	c.mu.Lock()
	c.queues[Served][0].until = time.Now().Add(-time.Second)
	c.mu.Unlock()
	next, _ := over(t, c)
	ended := make(chan struct{})
	go func() { next.Run(); close(ended) }()
	t.Cleanup(func() { next.End(); <-ended })
	next.Resume()
	select {
	case <-next.Lingering():
	case <-time.After(slowtest.Scale(time.Minute)):
		t.Fatal("its time is over, and it lingers")
	}
}

// While a Closer is paused nothing is read.
func TestPause(t *testing.T) {
	c := newCloser(t)
	fd, client := pair(t, "tcp")
	c.Close(fd, Refused)
	c.Pause()
	closeWrite(t, client)
	time.Sleep(20 * time.Millisecond) // time for who would read
	if c.Count() != 1 {
		t.Error("a connection was closed")
	}
	c.Resume()
	<-c.Lingering()
}

func TestRestoreErrors(t *testing.T) {
	for name, test := range map[string]struct {
		state LingeringState
		want  string
	}{
		"kind":       {LingeringState{FD: 9000, Kind: "kept", Left: 1}, "kept"},
		"bytes":      {LingeringState{FD: 9000, Kind: "served"}, "0 more bytes"},
		"descriptor": {LingeringState{FD: 9001, Kind: "served", Left: 1}, "9001"},
		"none":       {LingeringState{FD: carry.None, Kind: "served", Left: 1}, "without a descriptor"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer c.End()
			d := carry.NewDescriptors()
			d.Keep(9000)
			if err := c.Restore(&State{Lingering: []LingeringState{test.state}}, d); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

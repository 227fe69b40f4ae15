package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// countedGone waits until so many clients were refused because they had gone, and
// holds the log, the status and the metrics to it.
func countedGone(t *testing.T, m *systest.Master, n int) {
	t.Helper()
	var s control.Status
	systest.Until(t, fmt.Sprintf("%d clients are counted as gone", n), func() bool {
		s = looked(t, m)
		return s.Services[0].RefusedByReason["gone"] == uint64(n) && s.Services[0].Live == 0
	}, func() string { return fmt.Sprintf("%+v", s.Services[0]) })
	addsUp(t, s)
	if s.Services[0].Refused != uint64(n) {
		t.Errorf("refused %v, want %d that have gone", s.Services[0].RefusedByReason, n)
	}
	if _, text := curl(t, m, "/metrics"); scraped(t, text)[`preforkd_connections_refused_total{reason="gone",service="one"}`] != float64(n) {
		t.Errorf("the metrics have not %d that have gone", n)
	}
	systest.Until(t, "the log tells of all of them", func() bool {
		told := 0
		for _, e := range m.Events(systest.Is(systest.Refused)) {
			if e.Reason != "gone" {
				t.Fatalf("%s", e.Line)
			}
			told += e.Suppressed
			if e.Local != "" {
				told++
			}
		}
		return told == n
	}, nil)
}

// Clients that were reset while they waited in the kernel's queue get no worker: the
// live one behind them is served at once. A client that has only ended its own
// direction waits for its answer. The rate is not spent on those that have gone.
func TestClientsThatLeaveTheQueue(t *testing.T) {
	t.Parallel()
	const dead = 30
	m := configured(t, 1, single(catting, `max-connections = 1`, `rate = "3/h"`, `refuse-message = "nobody reads this"`))
	holder := m.Dial(t)
	holder.Echo(t, "hello")
	for _, c := range m.DialAll(t, dead) {
		c.Send(t, "a request")
		c.Reset(t)
	}
	half := m.Dial(t)
	half.Send(t, "half-closed")
	half.CloseWrite(t)
	live := m.Dial(t)
	live.Send(t, "alive")
	asked(t, m)
	holder.Close()
	if got := half.ExpectEnd(t); got != "half-closed" {
		t.Errorf("a half-closed client got %q", got)
	}
	live.Expect(t, "alive")
	live.Close()
	served(t, m, 3)
	countedGone(t, m, dead)
}

// served waits until so many clients were served, and checks that there was a worker for
// each and for nobody else.
func served(t *testing.T, m *systest.Master, clients int) {
	t.Helper()
	m.Wait(t, clients, systest.Is(systest.Accepted)) // the log may be behind
	m.WaitIdle(t)
	if n := len(m.Events(systest.Is(systest.Accepted))); n != clients {
		t.Errorf("%d workers for %d clients", n, clients)
	}
}

// Of a unix socket, a client that has closed its connection has gone, unless it has
// left something to be read.
func TestUnixClientsThatLeaveTheQueue(t *testing.T) {
	t.Parallel()
	const dead = 10
	path := systest.Dir(t) + "/s"
	file := systest.Dir(t) + "/got"
	m := configured(t, 1, `[service.one]
listen = ["unix:`+path+`"]
program = ["/bin/sh", "-c", "cat >>`+file+`"]
max-connections = 1
`)
	holder := m.Dial(t)
	m.Wait(t, 1, systest.Is(systest.Accepted))
	for _, c := range m.DialAll(t, dead) {
		c.Close()
	}
	message := m.Dial(t)
	message.Send(t, "a message")
	message.Close()
	half := m.Dial(t)
	half.CloseWrite(t)
	asked(t, m)
	holder.Close()
	half.ExpectEnd(t)
	served(t, m, 3)
	if got, err := os.ReadFile(file); string(got) != "a message" {
		t.Errorf("the program read %q, %v", got, err)
	}
	countedGone(t, m, dead)
}

// Clients of a proxy that wait for a slot after their header are asked as well.
func TestProxiedClientsThatLeave(t *testing.T) {
	t.Parallel()
	const dead = 10
	m := configured(t, 1, single(catting, `max-connections = 1`, `proxy-protocol = ["127.0.0.0/8"]`))
	const header = "PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n"
	before := len(systest.FDs(m.PID))
	clients := m.DialAll(t, dead)
	for _, c := range clients {
		c.Send(t, header[:10]) // or they would wait in the kernel's queue
	}
	systest.Until(t, "all of them are accepted", func() bool { return looked(t, m).Services[0].Live == dead }, nil)
	holder := m.Dial(t)
	holder.Send(t, header)
	holder.Echo(t, "hello")
	for _, c := range clients {
		c.Send(t, header[10:])
	}
	// A connection that waits for its header has two descriptors. That of the
	// holder has one, for its proper close.
	systest.Until(t, "all of them wait for a slot", func() bool { return len(systest.FDs(m.PID)) <= before+dead+1 }, nil)
	for _, c := range clients {
		c.Reset(t)
	}
	live := m.Dial(t)
	live.Send(t, header+"alive")
	asked(t, m)
	holder.Close()
	live.Expect(t, "alive")
	live.Close()
	served(t, m, 2)
	countedGone(t, m, dead)
}

// Whoever does not wait is not asked: a client that is reset right after it has
// connected to an idle service is accepted as ever.
func TestClientThatLeavesAnIdleService(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting))
	m.Dial(t).Reset(t)
	systest.Until(t, "reaped", func() bool {
		s := looked(t, m).Services[0]
		return s.Reaped == 1 && s.Refused == 0
	}, nil)
}

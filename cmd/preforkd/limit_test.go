package main

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// asked waits until the master has answered a signal, and with it whatever
// came before: a chance for what must not happen to happen.
func asked(t *testing.T, m *systest.Master) {
	t.Helper()
	for range 3 {
		before := len(m.Events(anyEvent))
		m.Signal(t, syscall.SIGUSR1)
		m.Wait(t, before+1, anyEvent)
	}
}

func anyEvent(systest.Event) bool { return true }

// At the cap further clients wait in the backlog, and each slot that becomes
// free serves one of them.
func TestOverflowWaits(t *testing.T) {
	t.Parallel()
	const limit, total = 3, 12
	m := systest.Start(t, append([]string{"--max-connections", fmt.Sprint(limit)}, program("/bin/cat")...)...)
	clients := m.DialAll(t, total) // the kernel accepts all of them
	for _, c := range clients {
		c.Send(t, "hello")
	}
	m.Wait(t, limit, systest.Is(systest.Accepted))
	asked(t, m)
	if n := len(systest.Children(m.PID)); n > limit {
		t.Errorf("%d workers, at most %d are allowed", n, limit)
	}
	for i, c := range clients {
		c.Expect(t, "hello") // in the order of the backlog
		if n := len(systest.Children(m.PID)); n > limit {
			t.Errorf("%d workers after %d clients, at most %d are allowed", n, i, limit)
		}
		c.Close()
	}
	m.WaitIdle(t)
	if refused := m.Events(systest.Is(systest.Refused)); len(refused) > 0 {
		t.Errorf("refused instead of waiting: %s", refused[0].Line)
	}
	// In the log, too, there were never more alive than there are slots.
	alive := 0
	for _, e := range m.Events(func(e systest.Event) bool { return e.Msg == systest.Accepted || e.Msg == systest.Reaped }) {
		if e.Msg == systest.Accepted {
			alive++
		} else {
			alive--
		}
		if alive > limit {
			t.Fatalf("%d alive at: %s", alive, e.Line)
		}
	}
}

// A slot belongs to a process. A program that has closed its connection and
// lives on keeps it.
func TestSlotIsFreedAtReap(t *testing.T) {
	t.Parallel()
	gate := systest.NewGate(t)
	m := systest.Start(t, append([]string{"--max-connections", "1"},
		program(sh(`read line; echo "$line"; exec 0<&- 1>&-; read go < `+gate.Path)...)...)...)
	first := m.Dial(t)
	first.Echo(t, "first\n")
	first.ExpectEnd(t)
	first.Close()
	second := m.Dial(t)
	second.Send(t, "second\n")
	asked(t, m)
	if n := len(m.Events(systest.Is(systest.Accepted))); n != 1 {
		t.Errorf("%d accepted while the only slot is taken", n)
	}
	gate.Open(t)
	second.Expect(t, "second\n")
	gate.Open(t)
	if reaped, accepted := first.End(t), second.Accepted(t); reaped.Index > accepted.Index {
		t.Errorf("accepted before a slot was free:\n%s\n%s", accepted.Line, reaped.Line)
	}
}

// Two listeners share the only slot of their service; neither takes it all.
func TestNoListenerStarves(t *testing.T) {
	t.Parallel()
	const each = 20
	m := systest.Start(t, append([]string{"--max-connections", "1", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"},
		program(sh("read line; echo $line")...)...)...)
	blocker := m.Dial(t)
	blocker.Worker(t)
	var clients []*systest.Client
	for range each {
		for _, l := range m.Listeners {
			c := m.DialTo(t, l.Network, l.Address)
			c.Send(t, "hello\n")
			clients = append(clients, c)
		}
	}
	blocker.Send(t, "go\n")
	for _, c := range clients {
		c.Expect(t, "hello\n")
		c.ExpectEnd(t)
	}
	var order []int // which listener's client was accepted
	for _, e := range m.Events(systest.Is(systest.Accepted))[1:] {
		i := slices.IndexFunc(clients, func(c *systest.Client) bool { return c.LocalAddr().String() == e.Peer })
		order = append(order, i%2)
	}
	for l := range 2 {
		if first := slices.Index(order, l); first >= each {
			t.Errorf("listener %d had to wait for all clients of the other: %v", l, order)
		}
	}
}

// Listeners that hold nobody's slot do not keep a slot from the others: with
// one slot and two listeners, either is served while the other is quiet.
func TestIdleListenerHoldsNoSlot(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--max-connections", "1", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"}, program("/bin/cat")...)...)
	for range 3 {
		for _, i := range []int{0, 0, 1, 1} {
			c := m.DialTo(t, m.Listeners[i].Network, m.Listeners[i].Address)
			c.Echo(t, "hello")
			c.Close()
		}
	}
}

// Clients that give up while they wait in the backlog cost nothing.
func TestClientsThatGiveUp(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--max-connections", "2"}, program("/bin/cat")...)...)
	holders := m.DialAll(t, 2)
	for _, c := range holders {
		c.Echo(t, "hello")
	}
	var waiting sync.WaitGroup
	for i := range 50 {
		waiting.Go(func() {
			c, err := m.TryDial()
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				c.Conn.(*net.TCPConn).SetLinger(0) // a reset: accept may fail with ECONNABORTED
			}
			c.Close()
		})
	}
	waiting.Wait()
	for _, c := range holders {
		c.Close()
	}
	m.Dial(t).Echo(t, "still here")
}

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// forms are ways to listen at an address of the loopback, each with the lines
// that it needs.
func forms(address string) [][]string {
	_, port, _ := net.SplitHostPort(address)
	return [][]string{
		{address},
		{":" + port},
		{"0.0.0.0:" + port},
		{"[::]:" + port, "v6-only = false"},
		{"localhost:" + port},
		{address, "reuse-port = true"},
		{address, "free-bind = true"},
		{address, `bind-to-device = "lo"`},
		{":" + port, `bind-to-device = "lo"`},
		{":" + port, "reuse-port = true"},
		{"[::]:" + port, "v6-only = false", "free-bind = true"},
	}
}

// A reload that writes an address in another form takes it from the listener that
// it closes. No client is lost that connects meanwhile or waits.
func TestReloadReplacesAddress(t *testing.T) {
	t.Parallel()
	port := held(t, 1)[0]
	forms := forms(port)
	m := configured(t, 1, at("one", forms[0][:1], catting))
	var done atomic.Bool
	var served, lost atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !done.Load() {
				conn, err := net.Dial("tcp", port)
				if err != nil {
					lost.Add(1)
					t.Errorf("after %d: %v", served.Load(), err)
					return
				}
				c := m.Wrap(conn)
				if err := c.TryEcho("hello"); err != nil {
					lost.Add(1)
					t.Errorf("after %d: %v", served.Load(), err)
				}
				c.Close()
				served.Add(1)
			}
		})
	}
	for i := range 50 {
		form := forms[(i*3+1)%len(forms)]
		before := served.Load()
		e := m.Reload(t, at("one", form[:1], append(form[1:], catting)...))
		if e.Msg != systest.Reloaded || e.Changed != "one" || e.Opened == "" || e.Closed == "" {
			t.Errorf("reload %d to %s: %s", i, form, e.Line)
		}
		systest.Until(t, "served on", func() bool { return served.Load() > before+3 || t.Failed() }, nil)
	}
	done.Store(true)
	clients.Wait()
	t.Logf("%d served, %d lost", served.Load(), lost.Load())
	oneSocket(t, m)
	m.StopSignal = syscall.SIGQUIT // the descriptors are others than at first
}

// oneSocket waits until a master has no listening TCP socket but one.
func oneSocket(t *testing.T, m *systest.Master) {
	t.Helper()
	listening := func() int {
		n := 0
		for _, s := range systest.SocketsOf(m.PID) {
			if s.Option(syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN) == 1 && s.Option(syscall.SOL_SOCKET, syscall.SO_DOMAIN) != syscall.AF_UNIX {
				n++
			}
			s.Close()
		}
		return n
	}
	systest.Until(t, "one socket listens", func() bool { return listening() == 1 }, nil)
}

// Those who wait for a slot wait on when their listener is replaced, and are served
// by the service that has its address then. Each direction is tried: from a part to
// the whole and back.
func TestReloadKeepsThoseWhoWait(t *testing.T) {
	t.Parallel()
	port := held(t, 1)[0]
	forms := forms(port)
	// One connection is live at each time, and the others wait.
	full := func(i int, program string) string {
		return at("one", forms[i][:1], append(forms[i][1:], `max-connections = 1`, program)...)
	}
	m := configured(t, 1, full(0, catting))
	live := m.Dial(t)
	live.Echo(t, "hello")
	var waiting []*systest.Client
	for i := range forms {
		for range 3 {
			c := m.DialTo(t, "tcp", port)
			c.Send(t, "hello")
			waiting = append(waiting, c)
		}
		reloaded(t, m, full((i+1)%len(forms), catting))
	}
	// They wait for longer than a replaced listener is kept at least.
	began := time.Now()
	systest.Until(t, "some checks have passed", func() bool {
		live.Echo(t, "still here")
		return time.Since(began) > 2500*time.Millisecond
	}, nil)
	live.Close()
	var clients sync.WaitGroup
	for i, c := range waiting {
		clients.Go(func() { // in whichever order they get the slot
			defer c.Close()
			answer := make([]byte, 5)
			if n, err := io.ReadFull(c, answer); err != nil {
				t.Errorf("client %d: %q, %v", i, answer[:n], err)
			}
		})
	}
	clients.Wait()
	m.DialTo(t, "tcp", port).Echo(t, "hello")
	oneSocket(t, m)
	m.StopSignal = syscall.SIGQUIT
}

// A service that takes the address of another one serves those who wait there, but
// not those who came to an address that it does not listen at.
func TestReloadGivesAddressToAnotherService(t *testing.T) {
	t.Parallel()
	port := held(t, 1)[0]
	_, number, _ := net.SplitHostPort(port)
	all, other := []string{":" + number}, []string{"127.0.0.2:" + number}
	say := func(word string) string { return fmt.Sprintf(`program = ["/bin/echo", %q]`, word) }
	m := configured(t, 1, at("one", []string{port}, catting, "max-connections = 1"))
	live := m.DialTo(t, "tcp", port)
	live.Echo(t, "hello")
	waiting := m.DialTo(t, "tcp", port)
	reloaded(t, m, at("two", all, say("two")))
	if got := waiting.ExpectEnd(t); got != "two\n" {
		t.Errorf("got %q", got)
	}
	live.Echo(t, "the old service finishes")
	live.Close()

	reloaded(t, m, at("three", all, catting, "max-connections = 1"))
	live = m.DialTo(t, "tcp", port)
	live.Echo(t, "hello")
	stranger := m.DialTo(t, "tcp", port)
	reloaded(t, m, at("admin", other, say("for admins only")))
	stranger.ExpectGone(t)
	if got := m.DialTo(t, "tcp", other[0]).ExpectEnd(t); got != "for admins only\n" {
		t.Errorf("got %q", got)
	}
	live.Close()
	m.StopSignal = syscall.SIGQUIT
}

// If one address of a file cannot be bound, what the others have taken the place of
// is there as before.
func TestReplacementThatFails(t *testing.T) {
	t.Parallel()
	port := held(t, 1)[0]
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	m := configured(t, 1, at("one", []string{port}, catting))
	for _, form := range forms(port)[1:] {
		e := m.Reload(t, at("one", []string{form[0], taken.Addr().String()}, append(form[1:], catting)...))
		if e.Msg != systest.NotReloaded || !strings.Contains(e.Error, "address already in use") && !strings.Contains(e.Error, "is taken by") {
			t.Errorf("%s: %s", form, e.Line)
		}
		m.DialTo(t, "tcp", port).Echo(t, "hello")
	}
	// Nobody else may share the port afterwards.
	if conn, err := net.Listen("tcp", port); err == nil {
		conn.Close()
		t.Error("the port is free for others")
	}
	oneSocket(t, m)
}

// A socket that a socket unit has passed is not the master's to close.
func TestReloadMeetsPassedSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	passed := "[service.passed]\n" + catting + "\n"
	m := systest.Options{Config: passed, Passed: []systest.Passed{{File: file, Name: "passed"}}}.Start(t)
	file.Close()
	e := m.Reload(t, passed+at("one", []string{":" + port}, catting))
	if e.Msg != systest.NotReloaded || !strings.HasSuffix(e.Error, "address already in use: by a socket that was passed for service passed, and that only its socket unit can close") {
		t.Errorf("%s", e.Line)
	}
	m.Dial(t).Echo(t, "hello")
}

// The metrics take the address of a service that goes, and give it back, in
// another form.
func TestReloadMovesMetrics(t *testing.T) {
	t.Parallel()
	ports := held(t, 2)
	port, other := ports[0], ports[1]
	_, number, _ := net.SplitHostPort(port)
	metrics := func(address string) string { return "[master]\nmetrics = \"" + address + "\"\n" }
	one := at("one", []string{other}, catting)
	m := configured(t, 2, one+at("two", []string{port}, catting))
	for _, text := range []string{
		metrics(":"+number) + one,
		metrics(port) + one,
		metrics("0.0.0.0:"+number) + one,
		one + at("two", []string{":" + number}, catting),
		metrics(port) + one,
		metrics(other) + at("one", []string{":" + number}, catting),
	} {
		reloaded(t, m, text)
		if strings.Contains(text, "metrics") {
			at := port
			if strings.Contains(text, other+"\"\n[service") {
				at = other
			}
			answer, err := http.Get("http://" + at + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || !strings.Contains(string(body), "preforkd_") {
				t.Errorf("%s: %q, %v", text, body, err)
			}
		}
	}
	m.StopSignal = syscall.SIGQUIT
}

// The service manager keeps the new socket in place of the one that was replaced,
// under the same name or another one, and the next master takes it back.
func TestReloadReplacesStored(t *testing.T) {
	t.Parallel()
	for i := range forms("")[1:] {
		port := held(t, 1)[0] // what a manager keeps is closed at the end of the test
		form := forms(port)[i+1]
		s := systest.NewSupervisor(t)
		o := systest.Options{Env: []string{s.Env()}, Config: at("one", []string{port}, catting)}
		m := o.Start(t)
		s.WaitFor(t, 0, "ready", says("READY=1"))
		reloaded(t, m, at("one", form[:1], append(form[1:], catting)...))
		opened := len(m.Events(systest.Is("listening"))) - 1
		said := s.WaitFor(t, 0, "what is stored is stored", says("FDSTOREREMOVE=1"))
		s.WaitFor(t, said, "the new one", says("FDSTORE=1"))
		m.StopSignal = syscall.SIGQUIT
		m.Stop(t)
		waiting := m.DialTo(t, "tcp", port)
		o.Config, o.Passed, o.Listeners = at("one", form[:1], append(form[1:], catting)...), s.Stored(t), opened
		if len(o.Passed) != opened {
			t.Errorf("%s: %d sockets are stored of %d", form, len(o.Passed), opened)
		}
		m = o.Start(t)
		if e := m.WaitFor(t, systest.Is("listening")); e.From != "stored" {
			t.Errorf("%s: %s", form, e.Line)
		}
		waiting.Send(t, "hello")
		waiting.Expect(t, "hello")
		waiting.Close()
		m.Stop(t)
	}
}

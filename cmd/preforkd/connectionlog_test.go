package main

import (
	"os"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// eventsOf returns the names of the events about connections from a source, in order.
func eventsOf(m *systest.Master, source string) []string {
	var names []string
	for _, e := range m.Events(func(e systest.Event) bool { return strings.HasPrefix(e.Peer, source+":") }) {
		names = append(names, e.Msg)
	}
	return names
}

// The log tells of all connections, of those that fail, or of none, as the service or
// the rule for the peer says. All are counted, what a program writes is told in any
// case, and preforkd explain says what holds by which rule.
func TestConnectionsInTheLog(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, `[service.one]
listen = ["0.0.0.0:0"]
program = ["/bin/sh", "-c", "echo words >&2; read line; case $line in kill) kill -SEGV $$;; *) exit $line;; esac"]
stderr = "log"
log = "failures"
[[service.one.rule]]
from = ["127.0.0.2"]
log = "all"
[[service.one.rule]]
from = ["127.0.0.3"]
log = "none"
[[service.one.rule]]
from = ["127.0.0.4"]
action = "deny"
[[service.one.rule]]
from = ["127.0.0.5"]
action = "deny"
log = "none"
`)
	m.LossyLog = true // on purpose: it does not tell of all connections
	m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
	for _, source := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		for _, how := range []string{"0\n", "7\n", "kill\n"} {
			c := dialSource(t, m, source)
			c.Send(t, how)
			c.ExpectEnd(t)
			m.WaitIdle(t)
		}
	}
	for _, source := range []string{"127.0.0.4", "127.0.0.5"} {
		dialSource(t, m, source).ExpectGone(t)
	}
	asked(t, m)
	for source, want := range map[string]string{
		"127.0.0.1": "reaped reaped",
		"127.0.0.2": "accepted reaped accepted reaped accepted reaped",
		"127.0.0.3": "",
		"127.0.0.4": "refused",
		"127.0.0.5": "",
	} {
		if got := strings.Join(eventsOf(m, source), " "); got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
	if n := len(m.Events(systest.Is(systest.Stderr))); n != 9 {
		t.Errorf("%d lines of programs, want 9", n)
	}
	s := looked(t, m).Services[0]
	if s.Accepted != 11 || s.Reaped != 9 || s.RefusedByReason["denied"] != 2 {
		t.Errorf("%+v", s)
	}
	addsUp(t, looked(t, m))
	for address, want := range map[string]string{
		"127.0.0.1": "; log failures",
		"127.0.0.2": "; log all, by rule for 127.0.0.2",
		"127.0.0.3": "; log none, by rule for 127.0.0.3",
		"127.0.0.5": "; log none, by rule for 127.0.0.5",
	} {
		if got := told(t, m, "explain", address); !strings.HasSuffix(got, want+"\n") {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}

// The one event of a connection that has failed has all that its accept would have
// said: whose it was, through which proxy, and where it came in.
func TestFailureIsUnderstandable(t *testing.T) {
	t.Parallel()
	gone := systest.Dir(t) + "/gone"
	systest.CopyProgram(t, "/bin/cat", gone)
	m := configured(t, 3, `[service.exits]
listen = ["127.0.0.1:0"]
program = ["/bin/sh", "-c", "read line; exit 3"]
proxy-protocol = ["127.0.0.0/8"]
log = "failures"
[service.gone]
listen = ["127.0.0.1:0"]
program = ["`+gone+`"]
proxy-protocol = ["127.0.0.0/8"]
log = "failures"
[service.silent]
listen = ["127.0.0.1:0"]
program = ["`+gone+`"]
proxy-protocol = ["127.0.0.0/8"]
log = "none"
`)
	m.LossyLog = true
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Listeners {
		c := m.DialTo(t, l.Network, l.Address)
		c.Send(t, "PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\nhello\n")
		c.ExpectGone(t)
		c = m.DialTo(t, l.Network, l.Address)
		c.Send(t, "GET / HTTP/1.0\r\n")
		c.ExpectGone(t)
	}
	for service, msg := range map[string]string{"exits": systest.Reaped, "gone": systest.SpawnFailed} {
		e := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == msg && e.Service == service })
		if e.Conn == "" || e.Peer != "192.0.2.1:40000" || e.Local != "198.51.100.7:443" || !strings.HasPrefix(e.Via, "127.0.0.1:") {
			t.Errorf("%s", e.Line)
		}
		m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Refused && e.Service == service })
	}
	asked(t, m)
	if told := m.Events(func(e systest.Event) bool {
		return e.Service == "silent" && e.Msg != systest.Listening && e.Msg != "status"
	}); len(told) > 0 {
		t.Errorf("%s", told[0].Line)
	}
	if s := looked(t, m).Services[2]; s.Failed != 1 || s.RefusedByReason["proxy-missing"] != 1 {
		t.Errorf("%+v", s)
	}
}

// With workers that live on and with spares it is the same. A client that resets the
// connection, as balancers end their health checks, is no failure of the service.
func TestFailuresOfBuiltInWorkers(t *testing.T) {
	t.Parallel()
	m := configured(t, 3, `[service.reused]
listen = ["127.0.0.1:0"]
handler = "echo"
spares = 1
connections-per-worker = 100
log = "failures"
[service.once]
listen = ["127.0.0.1:0"]
handler = "echo"
log = "failures"
[service.idle]
listen = ["127.0.0.1:0"]
handler = "echo"
idle-timeout = "50ms"
log = "failures"
`)
	m.Spares, m.LossyLog = 1, true
	m.WaitSpares(t, 1)
	m.Baseline(t)
	for _, l := range m.Listeners[:2] {
		for range 3 {
			c := m.DialTo(t, l.Network, l.Address)
			c.Echo(t, "hello\n")
			c.Close()
		}
		c := m.DialTo(t, l.Network, l.Address)
		c.Echo(t, "hello\n")
		c.Reset(t)
	}
	idle := m.DialTo(t, "tcp", m.Listeners[2].Address)
	idle.ExpectGone(t)
	e := m.WaitFor(t, func(e systest.Event) bool { return e.Conn != "" && e.Peer == idle.LocalAddr().String() })
	if e.Reason != "idle-timeout" || e.Local != m.Listeners[2].Address {
		t.Errorf("%s", e.Line)
	}
	systest.Until(t, "all are over", func() bool {
		s := looked(t, m)
		return s.Services[0].Reaped == 4 && s.Services[1].Reaped == 4 && s.Services[2].Reaped == 1
	}, nil)
	if told := m.Events(func(e systest.Event) bool { return e.Conn != "" }); len(told) != 1 {
		t.Errorf("%d events of connections, and one has failed: %s", len(told), told[0].Line)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// stateOf returns the state of a service.
func stateOf(t *testing.T, m *systest.Master, name string) string {
	t.Helper()
	for _, s := range looked(t, m).Services {
		if s.Name == name {
			return s.State
		}
	}
	t.Fatalf("there is no service %s", name)
	return ""
}

// A service that is drained takes no more, keeps what it has, and comes back by
// a reload; the others notice nothing of it, and neither does a master that has
// no other.
func TestDrainService(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"alone": 0, "among others": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(systest.Dir(t), "s")
			ports := held(t, 1+others)
			text := at("one", append(ports[:1:1], "unix:"+path), catting, "spares = 2")
			if others > 0 {
				text += at("two", ports[1:], catting)
			}
			m := configured(t, 2+others, text)
			m.Spares = 2
			m.WaitSpares(t, 2)
			m.Baseline(t)
			first := m.DialTo(t, "tcp", ports[0])
			first.Echo(t, "hello")
			conn := first.Accepted(t).Conn
			m.WaitSpares(t, 2)

			if out := told(t, m, "drain", "one"); out != "service one: draining, 1 live connections\n" {
				t.Errorf("%q", out)
			}
			e := m.WaitFor(t, systest.Is(systest.Draining))
			if e.Service != "one" || !strings.HasPrefix(e.Reason, fmt.Sprintf("control: uid=%d,pid=", os.Geteuid())) {
				t.Errorf("%s", e.Line)
			}
			if out := told(t, m, "drain", "one"); out != "service one: draining, 1 live connections\n" {
				t.Errorf("drained twice: %q", out)
			}
			for network, address := range map[string]string{"tcp": ports[0], "unix": path} {
				if c, err := net.Dial(network, address); err == nil {
					c.Close()
					t.Errorf("%s still accepts", address)
				}
			}
			systest.Until(t, "without spares", func() bool { return len(m.SparePIDs()) == 0 }, nil)
			first.Echo(t, "still here")
			if out := told(t, m, "explain", "127.0.0.1", "one"); !strings.Contains(out, "one: refused for draining") {
				t.Errorf("%q", out)
			}
			first.Close()
			m.WaitFor(t, systest.Ends(conn))
			systest.Until(t, "drained", func() bool { return stateOf(t, m, "one") == "drained" }, nil)
			told(t, m, "status", "--check") // it was meant to be
			if others > 0 {
				m.DialTo(t, "tcp", ports[1]).Echo(t, "hello")
			}

			if out := told(t, m, "reload"); !strings.HasPrefix(out, "changed  one\nopened   "+ports[0]+", unix:"+path+"\n") {
				t.Errorf("%q", out)
			}
			m.WaitSpares(t, 2)
			m.Baseline(t) // the listeners are new ones
			m.DialTo(t, "tcp", ports[0]).Echo(t, "hello again")
			m.DialTo(t, "unix", path).Echo(t, "hello again")
			if s := looked(t, m).Services[0]; s.State != "serving" || s.Accepted != 3 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A drain of the whole master is SIGTERM's, and says who wanted it.
func TestDrainMaster(t *testing.T) {
	t.Parallel()
	m := controlled(t, "--drain-timeout", "1h", "--", "/bin/cat")
	c := m.Dial(t)
	c.Echo(t, "hello")
	if r := ran(t, m, "drain", "nothing"); r.Code != 1 || !strings.Contains(r.Stderr, `there is no service "nothing"; there is cat`) {
		t.Errorf("%+v", r)
	}
	if out := told(t, m, "drain"); out != "preforkd: draining, 1 live connections, which have 1h0m0s\n" {
		t.Errorf("%q", out)
	}
	if e := m.WaitFor(t, systest.Is(systest.Draining)); e.Service != "" || !strings.HasPrefix(e.Reason, "control: uid=") {
		t.Errorf("%s", e.Line)
	}
	r := ran(t, m, "status", "--check")
	if r.Code != 1 || r.Stdout != "draining\n" {
		t.Errorf("%+v", r)
	}
	c.Echo(t, "still here")
	c.Close()
	m.WaitExit(t)
	if r := ran(t, m, "status", "--check"); r.Code != 3 {
		t.Errorf("%+v", r)
	}
}

// An idle master that is drained over its socket says so before it goes.
func TestDrainIdleMaster(t *testing.T) {
	t.Parallel()
	for range 5 {
		m := controlled(t, program("/bin/cat")...)
		if out := told(t, m, "drain"); out != "preforkd: draining, 0 live connections\n" {
			t.Errorf("%q", out)
		}
		m.WaitExit(t)
	}
}

func TestReloadSaysWhatHasChanged(t *testing.T) {
	t.Parallel()
	ports := held(t, 3)
	m := configured(t, 2, at("one", ports[:1], catting)+at("two", ports[1:2], catting))
	m.WriteConfig(t, at("one", ports[:1], catting, "max-connections = 5")+at("three", ports[2:], catting))
	if out, want := told(t, m, "reload"), fmt.Sprintf("added    three\nchanged  one\nremoved  two\nopened   %s\nclosed   %s\n", ports[2], ports[1]); out != want {
		t.Errorf("%q, want %q", out, want)
	}
	m.WriteConfig(t, at("one", ports[:1], catting, "max-conections = 5", "rate = 5"))
	r := ran(t, m, "reload")
	want := m.Config + ":4:1: service.one: unknown key \"max-conections\"; did you mean \"max-connections\"?\n" +
		m.Config + ":5:8: service.one: rate 5: must be a string\npreforkd: not reloaded: nothing has changed\n"
	if r.Code != 1 || r.Stdout != "" || r.Stderr != want {
		t.Errorf("%+v, want %q", r, want)
	}
	odd := filepath.Join(systest.Dir(t), "a\x1b[31m\n")
	m.WriteConfig(t, at("one", []string{ports[0], strings.ReplaceAll(strings.ReplaceAll("unix:"+odd, "\x1b", `\u001b`), "\n", `\n`)}, catting, "max-connections = 5")+at("three", ports[2:], catting))
	if out, want := told(t, m, "reload"), fmt.Sprintf("changed  one\nopened   %q\n", "unix:"+odd); out != want {
		t.Errorf("%q, want %q", out, want)
	}
	m.WriteConfig(t, at("one", []string{"192.0.2.1:1"}, catting))
	r = ran(t, m, "reload")
	if r.Code != 1 || !strings.Contains(r.Stderr, "not reloaded: bind service one: listen 192.0.2.1:1: ") {
		t.Errorf("%+v", r)
	}
	oneLine(t, r.Stderr)
	m.StopSignal = syscall.SIGQUIT // the descriptors are others than at first

	r = ran(t, controlled(t, program("/bin/cat")...), "reload")
	if r.Code != 1 || r.Stderr != "preforkd: nothing to reload: preforkd was started without a configuration file\n" {
		t.Errorf("%+v", r)
	}
}

// A unit reloads the master that it knows the pid of: through the control socket
// if that is this master's, else by a signal.
func TestReloadByPID(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	m, other := configured(t, 1, at("one", ports, catting)), controlled(t, program("/bin/cat")...)
	pid := fmt.Sprint(m.PID)
	m.WriteConfig(t, at("one", ports, catting, "max-connections = 5"))
	if out := told(t, m, "reload", "--pid", pid); out != "changed  one\n" {
		t.Errorf("%q", out)
	}
	for i, path := range []string{other.Control, filepath.Join(systest.Dir(t), "none")} {
		reloads := len(m.Events(systest.Is(systest.Reloaded)))
		m.WriteConfig(t, at("one", ports, catting, fmt.Sprint("max-connections = ", 6+i)))
		r := systest.Run(t, "reload", "--control", path, "--pid", pid)
		if r.Code != 0 || r.Stderr != "" || r.Stdout != "sent SIGHUP to process "+pid+"; its log says what has become of it\n" {
			t.Errorf("%+v", r)
		}
		m.Wait(t, reloads+1, systest.Is(systest.Reloaded))
	}
	if r := ran(t, m, "reload", "--pid", "0"); r.Code != exitUsage || !strings.Contains(r.Stderr, "--pid 0: ") {
		t.Errorf("%+v", r)
	}
	// A pid that nobody can have.
	if r := systest.Run(t, "reload", "--control", other.Control, "--pid", "2147483647"); r.Code != 1 || !strings.Contains(r.Stderr, "send SIGHUP to process 2147483647: no such process") {
		t.Errorf("%+v", r)
	}
}

// A service that is drained while the configuration is being read stays drained:
// the reload was asked for before.
func TestDrainDuringReload(t *testing.T) {
	t.Parallel()
	ports := held(t, 2)
	text := at("one", ports[:1], catting) + at("two", ports[1:], catting)
	m := configured(t, 2, text)
	// A pipe is read only once somebody writes.
	if err := os.Remove(m.Config); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(m.Config, 0o600); err != nil {
		t.Fatal(err)
	}
	m.Signal(t, syscall.SIGHUP)
	file, err := os.OpenFile(m.Config, os.O_WRONLY, 0) // which waits for the reader
	if err != nil {
		t.Fatal(err)
	}
	// Not by the command: a FIFO is read for a limited time only.
	client := control.NewClient(m.Control)
	defer client.Close()
	if _, err := client.Drain(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
	file.Close()
	m.WaitFor(t, systest.Is(systest.Reloaded))
	if state := stateOf(t, m, "one"); state != "drained" {
		t.Errorf("it is %s", state)
	}
	m.DialTo(t, "tcp", ports[1]).Echo(t, "hello")
	m.StopSignal = syscall.SIGQUIT // the descriptors are others than at first
}

// Each of many who ask for a reload at a time hears what is so afterwards.
func TestReloadsAtOnce(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting))
	outcomes := make(chan error)
	for range 10 {
		go func() {
			c := control.NewClient(m.Control)
			defer c.Close()
			_, err := c.Reload(t.Context())
			outcomes <- err
		}()
	}
	for range 10 {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
}

// A connection is ended by a signal to its worker's group, of whatever kind the
// worker is.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags, args []string
		want        string // the signal that the log says
	}{
		"by default":      {nil, []string{"/bin/cat"}, "SIGTERM"},
		"by name":         {[]string{"--signal", "KILL"}, []string{"/bin/cat"}, "SIGKILL"},
		"by number":       {[]string{"--signal", "1"}, []string{"/bin/cat"}, "SIGHUP"},
		"with its family": {nil, sh("exec 3<&0; cat <&3 & wait"), "SIGTERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := controlled(t, program(c.args...)...)
			client, other := m.Dial(t), m.Dial(t)
			other.Echo(t, "hello")
			e := client.Accepted(t)
			out := told(t, m, append([]string{"kill", e.Conn}, c.flags...)...)
			if want := fmt.Sprintf("sent %s to worker %d of connection %s, service ", strings.TrimPrefix(c.want, "SIG"), e.PID, e.Conn); !strings.HasPrefix(out, want) {
				t.Errorf("%q, want %q", out, want)
			}
			client.ExpectGone(t)
			if end := m.WaitFor(t, systest.Of(systest.Reaped, e.Conn)); end.Signal != c.want {
				t.Errorf("%s", end.Line)
			}
			if s := m.WaitFor(t, systest.Of("signalled", e.Conn)); s.PID != e.PID || s.Signal != c.want || !strings.HasPrefix(s.Reason, "control: uid=") {
				t.Errorf("%s", s.Line)
			}
			other.Echo(t, "still here")
			if r := ran(t, m, "kill", e.Conn); r.Code != 1 || r.Stderr != fmt.Sprintf("preforkd: there is no live connection %q\n", e.Conn) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Who is killed by hand gets no penalty for it, and a signal that a worker
// survives leaves it in sight.
func TestKillIsNoOffence(t *testing.T) {
	t.Parallel()
	m := controlled(t, with("--penalty-signals KILL --penalty 1h --penalty-max 1h", program(sh("trap 'echo caught' USR1; echo ready; while :; do sleep 1000 & wait; done")...)...)...)
	c := m.Dial(t)
	c.Expect(t, "ready\n")
	conn := c.Accepted(t).Conn
	for _, sig := range []string{"STOP", "CONT"} { // to look at it closely, and let it go on
		told(t, m, "kill", conn, "--signal", sig)
		if s := looked(t, m); len(s.Connections) != 1 || s.Connections[0].State != "serving" {
			t.Errorf("after SIG%s: %+v", sig, s.Connections)
		}
	}
	told(t, m, "kill", conn, "--signal", "USR1")
	c.Expect(t, "caught\n")
	if s := looked(t, m); len(s.Connections) != 1 || s.Connections[0].State != "ending" {
		t.Errorf("%+v", s.Connections)
	}
	told(t, m, "kill", conn, "--signal", "KILL")
	m.WaitFor(t, systest.Ends(conn))
	again := m.Dial(t)
	again.Expect(t, "ready\n")
	// On its own account it would have been one.
	if err := unix.Kill(-again.Accepted(t).PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.WaitFor(t, systest.Is(systest.Penalized))
}

// A connection that is killed on its way to a spare ends, too, and goes to nobody
// else.
func TestKillOnTheWay(t *testing.T) {
	t.Parallel()
	m := controlled(t, "--spares", "1", "echo")
	m.Spares = 1
	m.WaitSpares(t, 1)
	spare := m.SparePIDs()[0]
	if err := unix.Kill(spare, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c := m.Dial(t)
	e := c.Accepted(t)
	if e.PID != spare {
		t.Fatalf("another worker has it: %s", e.Line)
	}
	told(t, m, "kill", e.Conn, "--signal", "KILL")
	c.ExpectGone(t)
	if end := m.WaitFor(t, systest.Ends(e.Conn)); end.Signal != "SIGKILL" || end.PID != spare {
		t.Errorf("%s", end.Line)
	}
	m.WaitSpares(t, 1)
	m.Dial(t).Echo(t, "hello")
}

func TestLogLevelOfARunningMaster(t *testing.T) {
	t.Parallel()
	m := controlled(t, program("/bin/cat")...)
	changed := func(n int) systest.Event { return m.Wait(t, n, systest.Is("log level changed"))[n-1] }
	if out := told(t, m, "log-level"); out != "info\n" {
		t.Errorf("%q", out)
	}
	for i, c := range []struct{ to, out, level string }{
		{"error", "error, was info\n", "info"},
		{"warn", "warn, was error\n", "warn"},
		{"warn", "warn, was warn\n", ""},
		{"debug", "debug, was warn\n", "info"},
		{"info", "info, was debug\n", "info"},
	} {
		if out := told(t, m, "log-level", c.to); out != c.out {
			t.Errorf("%q, want %q", out, c.out)
		}
		if c.level == "" {
			continue
		}
		if i > 2 {
			i-- // one of them changes nothing
		}
		if e := changed(i + 1); e.Level != c.level || !strings.HasPrefix(e.Reason, "control: uid=") {
			t.Errorf("%s", e.Line)
		}
		if got := looked(t, m).Master.LogLevel; got != c.to {
			t.Errorf("the level is %s", got)
		}
	}
	told(t, m, "log-level", "warn")
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	systest.Until(t, "served", func() bool { return looked(t, m).Master.Reaped == 1 }, nil)
	told(t, m, "log-level", "info")
	changed(6)
	if e := m.Events(systest.Is(systest.Reaped)); len(e) > 0 {
		t.Errorf("%s", e[0].Line)
	}
	m.LossyLog = true
}

// For each reason there is an explanation, and it is what happens.
func TestExplain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	m := configured(t, 6, fmt.Sprintf(`
[service.rules]
listen = ["127.0.0.1:0", "unix:%s"]
program = ["/bin/cat"]
allow = ["127.0.0.0/8", "unix"]
deny = ["127.0.0.7", "uid:54321"]
[[service.rules.rule]]
from = ["127.0.0.8"]
max-connections-per-source = 1
[service.caps]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
max-connections-per-source = 1
max-connections = 2
[service.rate]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
rate-per-source = "1/h"
[service.penalty]
listen = ["127.0.0.1:0"]
program = ["/bin/false"]
penalty-exit-codes = [1]
penalty = "1h"
penalty-max = "1h"
[service.drop]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
random-early-drop = "1:50:3"
proxy-protocol = ["127.0.0.9"]
`, path))
	explained := func(address, service string) control.Explanation {
		t.Helper()
		var e control.Explained
		if err := json.Unmarshal([]byte(told(t, m, "explain", "--json", address, service)), &e); err != nil || len(e.Services) != 1 {
			t.Fatalf("%v: %+v", err, e)
		}
		return e.Services[0]
	}
	check := func(address, service, outcome, reason, by string, live int) control.Explanation {
		t.Helper()
		x := explained(address, service)
		if x.Outcome != outcome || x.Reason != reason || x.By != by || x.Live != live {
			t.Errorf("%s: %+v", address, x)
		}
		return x
	}
	within := func(x control.Explanation, d time.Duration) {
		t.Helper()
		if x.Until == nil || !x.Until.After(time.Now()) || x.Until.After(time.Now().Add(d)) {
			t.Errorf("%+v", x)
		}
	}
	to := func(service, source string) *systest.Client {
		t.Helper()
		for _, l := range m.Listeners {
			if l.Service == service && l.Network == "tcp" {
				return dialFromTo(t, m, source, l.Address)
			}
		}
		t.Fatal(service)
		return nil
	}

	check("127.0.0.1", "rules", "admitted", "", "allow 127.0.0.0/8", 0)
	check("::ffff:127.0.0.7", "rules", "refused", "denied", "deny 127.0.0.7", 0)
	check("192.0.2.1", "rules", "refused", "denied", "allow, on which it is not", 0)
	check("uid:0", "rules", "admitted", "", "allow unix", 0)
	check("uid:54321", "rules", "refused", "denied", "deny uid:54321", 0)
	check("127.0.0.8", "rules", "admitted", "", "rule for 127.0.0.8", 0)
	to("rules", "127.0.0.8").Echo(t, "hello")
	check("127.0.0.8", "rules", "refused", "max-connections-per-source", "max-connections-per-source 1, rule for 127.0.0.8", 1)

	check("127.0.0.1", "caps", "admitted", "", "", 0)
	one := to("caps", "127.0.0.1")
	one.Echo(t, "hello")
	check("127.0.0.1", "caps", "refused", "max-connections-per-source", "max-connections-per-source 1", 1)
	two := to("caps", "127.0.0.2")
	two.Echo(t, "hello")
	check("127.0.0.3", "caps", "waits", "max-connections", "max-connections 2", 0)
	one.Close()
	one.End(t)
	check("127.0.0.3", "caps", "admitted", "", "", 0)

	to("rate", "127.0.0.1").Echo(t, "hello")
	within(check("127.0.0.1", "rate", "refused", "rate-per-source", "rate-per-source 1/h", 1), time.Hour)
	check("127.0.0.2", "rate", "admitted", "", "", 0)

	bad := to("penalty", "127.0.0.1")
	bad.ExpectGone(t)
	m.WaitFor(t, systest.Is(systest.Penalized))
	within(check("127.0.0.1", "penalty", "refused", "penalty", "penalty", 0), time.Hour)

	to("drop", "127.0.0.1").Echo(t, "hello")
	if x := check("127.0.0.2", "drop", "admitted", "", "", 0); x.EarlyDrop != 0.5 {
		t.Errorf("%+v", x)
	}
	if x := explained("127.0.0.9", "drop"); !strings.Contains(x.Note, "PROXY header") {
		t.Errorf("%+v", x)
	}

	// To explain changes nothing: who was to be admitted still is.
	to("rate", "127.0.0.2").Echo(t, "hello")

	lines := strings.Split(strings.TrimSpace(told(t, m, "explain", "127.0.0.1")), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[2], "rate: refused for rate-per-source, by rate-per-source 1/h, until ") {
		t.Errorf("%q", lines)
	}
	for _, c := range []struct{ address, service, want string }{
		{"127.0.0.1:80", "", `address "127.0.0.1:80": must be an IP address`},
		{"localhost", "", `address "localhost": must be an IP address`},
		{"uid:no-such-user", "", `address "uid:no-such-user": there is no such user`},
		{"uid:", "", `must name an account`},
	} {
		if r := ran(t, m, "explain", c.address); r.Code != 2 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%+v", r)
		}
	}
	if r := ran(t, m, "explain", "::1", "nothing"); r.Code != 1 || !strings.Contains(r.Stderr, `there is no service "nothing"; there is rules, caps, rate, penalty, drop`) {
		t.Errorf("%+v", r)
	}
}

// A connection whose PROXY header comes after its service was drained is refused
// like any other.
func TestDrainRefusesPendingHeader(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(telling, `proxy-protocol = ["127.0.0.0/8"]`, `proxy-timeout = "1h"`))
	client := m.Dial(t)
	systest.Until(t, "the connection was accepted", func() bool { return looked(t, m).Services[0].Accepted == 1 }, nil)
	told(t, m, "drain", "one")
	client.Write([]byte("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\nhello\n"))
	client.ExpectGone(t)
	if e := m.WaitFor(t, systest.Is(systest.Refused)); e.Reason != "draining" {
		t.Errorf("%s", e.Line)
	}
	client.Close()
	port := client.LocalAddr().(*net.TCPAddr).Port
	systest.Until(t, "the connection is closed", func() bool {
		open := false
		for _, s := range systest.SocketsOf(m.PID) {
			open = open || s.Option(unix.SOL_SOCKET, unix.SO_DOMAIN) == unix.AF_INET && s.Peer() == port
			s.Close()
		}
		return !open
	}, nil)
	m.Baseline(t) // without the listener
	if n := looked(t, m).Services[0].Live; n != 0 {
		t.Errorf("%d live connections", n)
	}
}

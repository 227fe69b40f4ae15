package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A service that was drained comes back, also where there is no file to reload:
// its listeners accept, and its spares are there. Its connections that came
// before the drain go on to their own end.
func TestResumeWithoutAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	port := held(t, 1)[0]
	m := controlled(t, "--listen", port, "--listen", "unix:"+path, "--spares", "2", "--max-connections", "9", "--", "/bin/cat")
	m.WaitSpares(t, 2)
	first := m.DialTo(t, "tcp", port)
	first.Echo(t, "hello")
	told(t, m, "drain", "cat")
	systest.Until(t, "without spares", func() bool { return len(m.SparePIDs()) == 0 }, nil)
	if r := ran(t, m, "reload"); r.Code != 1 || !strings.Contains(r.Stderr, "started without a configuration file") {
		t.Errorf("%+v", r)
	}
	if out := told(t, m, "explain", "127.0.0.1"); !strings.Contains(out, "refused for draining") || !strings.Contains(out, "; preforkd resume brings it back") {
		t.Errorf("%q", out)
	}
	if r := systest.Run(t, "__complete", "resume", "--control", m.Control, ""); !strings.HasPrefix(r.Stdout, "cat\t") {
		t.Errorf("%+v", r)
	}

	want := "service cat: serving at " + port + ", unix:" + path + "\n"
	if out := told(t, m, "resume", "cat"); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	e := m.WaitFor(t, systest.Is("resumed"))
	if e.Service != "cat" || e.Opened != port+" unix:"+path || !strings.HasPrefix(e.Reason, fmt.Sprintf("control: uid=%d,pid=", os.Geteuid())) {
		t.Errorf("%s", e.Line)
	}
	m.WaitSpares(t, 2)
	for network, address := range map[string]string{"tcp": port, "unix": path} {
		c := m.DialTo(t, network, address)
		c.Echo(t, "hello again")
		c.Close()
	}
	first.Echo(t, "still here")
	if s := looked(t, m).Services[0]; s.State != "serving" || s.Accepted != 3 || s.Limit != 9 {
		t.Errorf("%+v", s)
	}
	first.Close()

	// Once more: there is nothing to bring back.
	if out := told(t, m, "resume", "cat"); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if n := len(m.Events(systest.Is("resumed"))); n != 1 {
		t.Errorf("%d times resumed", n)
	}
	if r := ran(t, m, "resume", "dog"); r.Code != 1 || !strings.Contains(r.Stderr, `there is no service "dog"; there is cat`) {
		t.Errorf("%+v", r)
	}
	m.WaitSpares(t, 2)
	m.Baseline(t) // the listeners are new ones
}

// Of several services only the one that is named comes back, and a reload
// afterwards leaves it as it is.
func TestResumeOneOfSeveral(t *testing.T) {
	t.Parallel()
	ports := held(t, 3)
	text := at("one", ports[:1], catting) + at("two", ports[1:2], catting) + at("three", ports[2:], catting)
	m := configured(t, 3, text)
	live := m.DialTo(t, "tcp", ports[2])
	live.Echo(t, "hello")
	told(t, m, "drain", "one")
	told(t, m, "drain", "two")
	told(t, m, "resume", "two")
	c := m.DialTo(t, "tcp", ports[1])
	c.Echo(t, "hello")
	if conn, err := net.Dial("tcp", ports[0]); err == nil {
		conn.Close()
		t.Error("a service is back that nobody has asked for")
	}
	if one, two := stateOf(t, m, "one"), stateOf(t, m, "two"); one != "drained" || two != "serving" {
		t.Errorf("one is %s, two is %s", one, two)
	}
	if e := reloaded(t, m, text); e.Changed != "one" || e.Opened != ports[0] || e.Closed != "" {
		t.Errorf("%s", e.Line)
	}
	c.Echo(t, "still here")
	live.Echo(t, "still here")
	told(t, m, "drain", "two")
	told(t, m, "resume", "two")
	m.DialTo(t, "tcp", ports[1]).Echo(t, "hello")
	m.StopSignal = syscall.SIGQUIT // the descriptors are others than at first
}

// A service whose address is taken meanwhile stays drained, and says why. Nothing
// comes back to a master that stops.
func TestResumeFails(t *testing.T) {
	t.Parallel()
	m := controlled(t, "--drain-timeout", "1h", "--", "/bin/cat")
	live := m.Dial(t)
	live.Echo(t, "hello")
	address := m.Listeners[0].Address
	told(t, m, "drain", "cat")
	// The kernel chooses another port for port 0.
	told(t, m, "resume", "cat")
	e := m.Wait(t, 2, systest.Is(systest.Listening))[1]
	if e.Local == address {
		t.Logf("the kernel has chosen %s again", address)
	}
	c := m.DialTo(t, "tcp", e.Local)
	c.Echo(t, "hello")
	c.Close()
	told(t, m, "drain")
	if r := ran(t, m, "resume", "cat"); r.Code != 1 || !strings.Contains(r.Stderr, "service cat is not resumed: preforkd is stopping") {
		t.Errorf("%+v", r)
	}
	live.Close()
	m.WaitExit(t)

	port := held(t, 1)[0]
	m = controlled(t, "--listen", port, "--", "/bin/cat")
	told(t, m, "drain", "cat")
	taken, err := net.Listen("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if r := ran(t, m, "resume", "cat"); r.Code != 1 || !strings.Contains(r.Stderr, "service cat is not resumed: bind service cat: listen "+port+": address already in use") {
		t.Errorf("%+v", r)
	}
	if state := stateOf(t, m, "cat"); state != "drained" {
		t.Errorf("it is %s", state)
	}
	taken.Close()
	told(t, m, "resume", "cat")
	m.DialTo(t, "tcp", port).Echo(t, "hello")
	m.Baseline(t)
	m.StopSignal = syscall.SIGQUIT
}

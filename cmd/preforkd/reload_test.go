package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// reloaded reloads and fails unless the new configuration is in force.
func reloaded(t *testing.T, m *systest.Master, text string) systest.Event {
	t.Helper()
	e := m.Reload(t, text)
	if e.Msg != systest.Reloaded {
		t.Fatalf("%s", e.Line)
	}
	return e
}

// held returns addresses whose ports are kept for this test: bound, and not
// listened at. A master binds them too, because both say that the port may be
// used again.
func held(t *testing.T, n int) []string {
	t.Helper()
	var addresses []string
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port))
	}
	return addresses
}

func at(service string, addresses []string, lines ...string) string {
	return fmt.Sprintf("[service.%s]\nlisten = [\"%s\"]\n%s\n", service, strings.Join(addresses, `", "`), strings.Join(lines, "\n"))
}

// Listeners that stay lose no connection, whatever else a reload changes.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	ports := held(t, 3)
	m := configured(t, 1, at("one", ports[:1], catting))
	var done atomic.Bool
	var served atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !done.Load() {
				conn, err := net.Dial("tcp", ports[0])
				if err != nil {
					t.Errorf("after %d: %v", served.Load(), err)
					return
				}
				c := m.Wrap(conn)
				if err := c.TryEcho("hello"); err != nil {
					t.Errorf("after %d: %v", served.Load(), err)
				}
				c.Close()
				served.Add(1)
			}
		})
	}
	for i, text := range []string{
		at("one", ports[:1], catting, `max-connections = 5`),
		at("one", ports[:1], catting, `max-connections = 300`, `nodelay = false`, `backlog = 77`),
		at("one", ports[:2], catting),                                                   // an address more
		at("one", ports[:1], catting, `env = ["A=1"]`) + at("two", ports[1:2], catting), // it goes to another service
		at("three", ports[:1], catting) + at("two", ports[1:3], catting),                // and this one too
		at("three", ports[:1], catting, `spares = 2`),
		at("one", ports[:1], catting, `source-prefix-v4 = 24`),
		"nonsense",
		at("one", ports[:1], catting),
	} {
		before := served.Load()
		if e := m.Reload(t, text); (e.Msg == systest.Reloaded) == (text == "nonsense") {
			t.Errorf("reload %d: %s", i, e.Line)
		}
		systest.Until(t, "served on", func() bool { return served.Load() > before+5 || t.Failed() }, nil)
	}
	done.Store(true)
	clients.Wait()
	if refused := m.Events(systest.Is(systest.Refused)); len(refused) > 0 {
		t.Errorf("%s", refused[0].Line)
	}
	m.StopSignal = syscall.SIGQUIT // the descriptors are others than at first, and spares may be about to go
}

// A file that is wrong changes nothing and says why; so does one that cannot be
// put in force, although it says nothing wrong.
func TestReloadOfABadFile(t *testing.T) {
	t.Parallel()
	ports := held(t, 2)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := at("one", ports[:1], catting)
	m := configured(t, 1, good)
	live := m.Dial(t)
	live.Echo(t, "hello")
	for text, want := range map[string][]string{
		at("one", ports, catting, `max-conections = 5`, `rate = 5`):                                  {":4:1: service.one: unknown key", ":5:8: service.one: rate 5"},
		at("one", ports, `program = ["/nowhere/program"]`):                                           {":3:12: service.one: program"},
		at("one", []string{ports[1]}, catting) + at("two", []string{taken.Addr().String()}, catting): {"bind service two: listen " + taken.Addr().String() + ": address already in use"},
		at("one", ports[:1], catting, `bind-to-device = "nosuch0"`):                                  {"bind to device nosuch0: no such device"},
		"": {"there is no service"},
	} {
		before := len(m.Events(systest.Is(systest.NotReloaded)))
		if e := m.Reload(t, text); e.Msg != systest.NotReloaded {
			t.Fatalf("%s", e.Line)
		}
		for i, e := range m.Wait(t, before+len(want), systest.Is(systest.NotReloaded))[before:] {
			if !strings.Contains(e.Error, want[i]) {
				t.Errorf("no %q in %s", want[i], e.Line)
			}
		}
		live.Echo(t, "hello")
		c := m.Dial(t)
		c.Echo(t, "hello")
		c.Close()
		if conn, err := net.Dial("tcp", ports[1]); err == nil {
			conn.Close()
			t.Error("an address of a file that is not in force is listened at")
		}
	}
	if err := os.Remove(m.Config); err != nil {
		t.Fatal(err)
	}
	m.Signal(t, syscall.SIGHUP)
	m.WaitFor(t, func(e systest.Event) bool {
		return e.Msg == systest.NotReloaded && strings.Contains(e.Error, "no such file")
	})
	live.Echo(t, "hello")
}

// What is removed stops accepting, and its connections finish; what is added
// serves; what changed is logged.
func TestReloadAddsAndRemoves(t *testing.T) {
	t.Parallel()
	ports := held(t, 2)
	path := systest.Dir(t) + "/s"
	m := configured(t, 2, at("one", []string{ports[0], "unix:" + path}, catting))
	live := m.Dial(t)
	live.Echo(t, "hello")
	e := reloaded(t, m, at("two", ports[1:], catting))
	if e.Added != "two" || e.Removed != "one" || e.Changed != "" || e.Opened != ports[1] || e.Closed != ports[0]+" unix:"+path {
		t.Errorf("%s", e.Line)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket of a removed listener: %v", err)
	}
	if conn, err := net.Dial("tcp", ports[0]); err == nil {
		conn.Close()
		t.Error("a removed listener accepts")
	}
	m.DialTo(t, "tcp", ports[1]).Echo(t, "hello")
	live.Echo(t, "still here")
	e = reloaded(t, m, at("one", ports[:1], catting)+at("two", ports[1:], catting, `max-connections = 7`))
	if e.Added != "one" || e.Changed != "two" || e.Removed != "" || e.Opened != ports[0] || e.Closed != "" {
		t.Errorf("%s", e.Line)
	}
	e = reloaded(t, m, at("one", ports[:1], catting)+at("two", ports[1:], catting, `max-connections = 7`))
	if e.Added+e.Changed+e.Removed+e.Opened+e.Closed != "" {
		t.Errorf("nothing has changed, but: %s", e.Line)
	}
	live.Close()
	live.End(t)
	// What services were that are long gone still adds up.
	for range 3 {
		reloaded(t, m, at("three", ports[1:], catting))
	}
	m.DialTo(t, "tcp", ports[1]).Echo(t, "hello")
	m.Stop(t)
	e = m.WaitFor(t, systest.Is(systest.Stopped))
	if !strings.Contains(e.Line, `"accepted":3,"refused":0,"failed":0,"reaped":3`) {
		t.Errorf("%s", e.Line)
	}
}

// Addresses whose port the kernel chose stay what they are, however often they
// are listed.
func TestReloadKeepsChosenPorts(t *testing.T) {
	t.Parallel()
	any := []string{"127.0.0.1:0", "127.0.0.1:0"}
	m := configured(t, 4, at("one", any, catting)+at("two", any, catting))
	for i := range 3 {
		e := reloaded(t, m, at("one", any, catting)+at("two", any, catting, fmt.Sprintf("max-connections = %d", i+1)))
		if e.Opened+e.Closed != "" {
			t.Errorf("%s", e.Line)
		}
	}
	for _, l := range m.Listeners {
		m.DialTo(t, l.Network, l.Address).Echo(t, "hello")
	}
	m.StopSignal = syscall.SIGQUIT
}

// Limits hold at once for the connections that are live.
func TestReloadAppliesLimits(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	m := configured(t, 1, at("one", ports, catting, `overflow = "refuse"`))
	first, second := m.Dial(t), m.Dial(t)
	first.Echo(t, "hello")
	second.Echo(t, "hello")
	reloaded(t, m, at("one", ports, catting, `overflow = "refuse"`, `max-connections = 2`))
	refusedFor(t, m, m.Dial(t), "max-connections")
	reloaded(t, m, at("one", ports, catting, `max-connections-per-source = 2`, `refuse-message = "no\n"`))
	c := m.Dial(t)
	if got, err := io.ReadAll(c); string(got) != "no\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	refusedFor(t, m, c, "max-connections-per-source")
	reloaded(t, m, at("one", ports, catting, `max-connections = 2`)) // waits now
	waiting := m.Dial(t)
	waiting.Send(t, "hello")
	asked(t, m)
	if n := len(systest.Children(m.PID)); n != 2 {
		t.Errorf("%d workers", n)
	}
	reloaded(t, m, at("one", ports, catting, `max-connections = 3`))
	waiting.Expect(t, "hello")
	reloaded(t, m, at("one", ports, catting, `deny = ["127.0.0.0/8"]`))
	refusedFor(t, m, m.Dial(t), "denied")
	first.Echo(t, "still here")
	reloaded(t, m, at("one", ports, `program = ["/bin/echo", "another program"]`))
	if got := m.Dial(t).ExpectEnd(t); got != "another program\n" {
		t.Errorf("got %q", got)
	}
}

// Accept goroutines that wait for a slot of a service that their listener no
// longer belongs to go on.
func TestReloadMovesAFullListener(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	m := configured(t, 1, at("one", ports, catting, `max-connections = 1`))
	m.Dial(t).Echo(t, "hello")
	waiting := m.Dial(t)
	waiting.Send(t, "hello")
	asked(t, m)
	// The old service lives on elsewhere, with a limit of its own.
	reloaded(t, m, at("one", held(t, 1), catting, `max-connections = 3`)+at("two", ports, catting, `max-connections = 1`))
	waiting.Expect(t, "hello")
	if e := waiting.Accepted(t); e.Service != "two" {
		t.Errorf("%s", e.Line)
	}
	for range 2 {
		m.DialTo(t, "tcp", m.Listeners[1].Address).Echo(t, "the limit is the new one")
	}
	m.StopSignal = syscall.SIGQUIT
}

// A reload replaces spares, whose program may be another one, and nothing of
// what there was before it is left.
func TestReloadReplacesSpares(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	m := configured(t, 1, at("one", ports, `program = ["/bin/echo", "first"]`, `spares = 2`))
	m.StopSignal = syscall.SIGQUIT
	m.Dial(t).ExpectEnd(t)
	reloaded(t, m, at("one", ports, `program = ["/bin/echo", "second"]`, `spares = 1`))
	for range 3 {
		if got := m.Dial(t).ExpectEnd(t); got != "second\n" {
			t.Errorf("got %q", got)
		}
	}
	systest.Until(t, "one spare", func() bool { return len(systest.Children(m.PID)) == 1 }, nil)
	reloaded(t, m, at("one", ports, `program = ["/bin/echo", "second"]`))
	systest.Until(t, "no spare", func() bool { return len(systest.Children(m.PID)) == 0 }, nil)
}

// Signals that come while a file is being read lead to one more reload, with
// what the file says last.
func TestReloadOften(t *testing.T) {
	t.Parallel()
	ports := held(t, 1)
	m := configured(t, 1, at("one", ports, catting))
	for i := range 30 {
		m.WriteConfig(t, at("one", ports, fmt.Sprintf(`program = ["/bin/echo", "%d"]`, i)))
		m.Signal(t, syscall.SIGHUP)
	}
	systest.Until(t, "the last one is in force", func() bool {
		c := m.Dial(t)
		defer c.Close()
		// A connection that came before the first reload is served by cat, which
		// waits for the end of its input.
		c.CloseWrite(t)
		return c.ExpectEnd(t) == "29\n"
	}, nil)
}

// Without a file there is nothing to reload, and during a stop nothing is.
func TestNothingToReload(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "echo")
	m.Signal(t, syscall.SIGHUP)
	m.WaitFor(t, systest.Is("nothing to reload"))
	m.Dial(t).Echo(t, "hello")
}

// A reload that removes a service tells its workers to drain, as preforkd drain
// does.
func TestRemovedServiceDrains(t *testing.T) {
	t.Parallel()
	ports := held(t, 2)
	goodbye := sdk(t, "", "goodbye")
	program := `handoff = "worker"` + "\n" + `program = ["` + strings.Join(goodbye[len(goodbye)-2:], `", "`) + `"]`
	m := configured(t, 2, at("one", ports[:1], program)+at("two", ports[1:], catting))
	client := m.DialTo(t, "tcp", ports[0])
	client.Echo(t, "hello\n")
	reloaded(t, m, at("two", ports[1:], catting))
	if got := client.ExpectEnd(t); got != "goodbye\n" {
		t.Errorf("the last words are %q", got)
	}
	if end := client.End(t); end.Reason != "drain" {
		t.Errorf("%s", end.Line)
	}
	m.Baseline(t) // without its listener
}

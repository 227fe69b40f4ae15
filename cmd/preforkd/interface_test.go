package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// saying is a program that prints some of its environment.
const saying = `program = ["/bin/sh", "-c", "echo $TCPLOCALIP $TCPREMOTEIP"]`

// A listener whose interface is deleted and made again is a problem for the status,
// and listens again by itself, whatever binds it to the interface.
func TestInterfaceMadeAnew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ listen, lines, dial string }{
		"zone":                  {"[fe80::1%vpn0]:7007", "", "[fe80::1%vpn0]:7007"},
		"zone with free-bind":   {"[fe80::1%vpn0]:7007", "free-bind = true", "[fe80::1%vpn0]:7007"},
		"device":                {":7007", `bind-to-device = "vpn0"`, "[fe80::1%vpn0]:7007"},
		"device and an address": {"10.9.8.7:7007", `bind-to-device = "vpn0"`, ""},
		"device and free-bind":  {"10.9.8.7:7007", "bind-to-device = \"vpn0\"\nfree-bind = true", ""},
		"address alone":         {"10.9.8.7:7007", "", "10.9.8.7:7007"}, // nothing is lost here
		"any port":              {"[fe80::1%vpn0]:0", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			addresses := []string{"fe80::1/64", "10.9.8.7/24"}
			n.makeInterface("vpn0", addresses...)
			m := systest.Options{Wrap: n.wrap, Config: at("one", []string{c.listen}, c.lines, saying)}.Start(t)
			m.StopSignal = syscall.SIGQUIT // the descriptors are others than at first
			local := m.Listeners[0].Address
			reachable := func() {
				t.Helper()
				if c.dial == "" && name != "any port" {
					return // only the other end of the pair could connect
				}
				to := c.dial
				if to == "" {
					to = local
				}
				if said, err := n.answer(to); err != nil || !strings.Contains(said, strings.Trim(to[:strings.LastIndexByte(to, ':')], "[]")) {
					t.Errorf("%q, %v", said, err)
				}
			}
			reachable()
			n.run("link", "delete", "vpn0")
			isProblem := func() bool {
				s := looked(t, m)
				return len(s.Master.Problems) > 0 && strings.Contains(s.Master.Problems[0].Reason, local+" cannot be reached: its interface vpn0 is gone") &&
					s.Master.Problems[0].Service == "one"
			}
			if name == "address alone" {
				n.makeInterface("vpn0", addresses...)
				reachable()
				if s := looked(t, m); len(s.Master.Problems) > 0 {
					t.Errorf("%+v", s.Master.Problems)
				}
				return
			}
			systest.Until(t, "a problem", isProblem, nil)
			m.WaitFor(t, systest.Is("listener unreachable"))
			// A reload cannot mend it yet, and is done all the same.
			reloaded(t, m, at("one", []string{c.listen}, c.lines, saying, "max-connections = 7"))
			if !isProblem() {
				t.Error("no problem any more")
			}
			n.run("link", "add", "other0", "type", "veth", "peer", "name", "other0p") // so that the index is another one for sure
			n.makeInterface("vpn0", addresses...)
			m.Wait(t, 2, systest.Is("listening"))
			systest.Until(t, "no problem", func() bool { return len(looked(t, m).Master.Problems) == 0 }, nil)
			reachable()
			if events := m.Events(systest.Is("listening")); events[1].Local != local {
				t.Errorf("%s", events[1].Line)
			}
		})
	}
}

// A reload mends a listener whose interface has come back, and one whose file is
// gone, and leaves what is well as it is.
func TestReloadMendsListeners(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/socket"
	m := configured(t, 2, at("one", []string{"127.0.0.1:0", "unix:" + path}, catting))
	m.StopSignal = syscall.SIGQUIT
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s := looked(t, m)
	if want := "unix:" + path + " cannot be reached: its file: lstat: no such file or directory"; len(s.Master.Problems) != 1 || s.Master.Problems[0].Reason != want {
		t.Errorf("%+v, want %s", s.Master.Problems, want)
	}
	e := reloaded(t, m, at("one", []string{"127.0.0.1:0", "unix:" + path}, catting))
	if e.Opened != "unix:"+path || e.Closed != "unix:"+path {
		t.Errorf("%s", e.Line)
	}
	m.DialTo(t, "unix", path).Echo(t, "hello")
	if s := looked(t, m); len(s.Master.Problems) != 0 {
		t.Errorf("%+v", s.Master.Problems)
	}
}

// The log, the status and the environment give the zone of a link-local address by
// the name of its interface, at a listener of that address and at one of every
// address.
func TestZoneNames(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.makeInterface("vpn0", "fe80::1/64")
	m := systest.Options{Wrap: n.wrap, Config: at("one", []string{"[fe80::1%vpn0]:7007", ":7008"}, saying) + at("two", []string{"[::]:7009"}, catting), Listeners: 3}.Start(t)
	if got := m.Listeners[0].Address; got != "[fe80::1%vpn0]:7007" {
		t.Errorf("listens at %s", got)
	}
	for _, port := range []string{"7007", "7008"} {
		said, err := n.answer("[fe80::1%vpn0]:" + port)
		if want := "fe80::1%vpn0 fe80::1%vpn0\n"; err != nil || said != want {
			t.Errorf("port %s: %q, %v, want %q", port, said, err, want)
		}
	}
	for _, e := range m.Wait(t, 2, systest.Is(systest.Accepted)) {
		if !strings.HasPrefix(e.Peer, "[fe80::1%vpn0]:") || !strings.HasPrefix(e.Local, "[fe80::1%vpn0]:") {
			t.Errorf("%s", e.Line)
		}
	}
	conn, err := n.dial("[fe80::1%vpn0]:7009")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "hello")
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	var s control.Status
	systest.Until(t, "the connection is in the status", func() bool { s = looked(t, m); return len(s.Connections) == 1 }, nil)
	if got := s.Services[0].Listeners[0].Local; got != "[fe80::1%vpn0]:7007" {
		t.Errorf("the status has %s", got)
	}
	if c := s.Connections[0]; !strings.HasPrefix(c.Peer, "[fe80::1%vpn0]:") || c.Local != "[fe80::1%vpn0]:7009" || c.BytesIn == nil || *c.BytesIn != 5 {
		t.Errorf("%+v", c)
	}
}

// A listener at a link-local address is taken back from the service manager. One
// whose interface was made anew meanwhile is bound again.
func TestStoredLinkLocal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listen, lines, want string
		anew                bool
	}{
		"zone":                      {"[fe80::1%vpn0]:7007", "", "stored", false},
		"zone and device":           {"[fe80::1%vpn0]:7007", `bind-to-device = "vpn0"`, "stored", false},
		"device":                    {":7007", `bind-to-device = "vpn0"`, "stored", false},
		"no interface":              {"127.0.0.1:7007", "", "stored", false},
		"zone, interface made anew": {"[fe80::1%vpn0]:7007", "", "", true},
		"device, made anew":         {":7007", `bind-to-device = "vpn0"`, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			n.makeInterface("vpn0", "fe80::1/64")
			s := systest.NewSupervisor(t)
			o := systest.Options{Env: []string{s.Env()}, Wrap: n.wrap, Config: at("one", []string{c.listen}, c.lines, saying)}
			m := o.Start(t)
			s.WaitFor(t, 0, "ready", says("READY=1"))
			systest.Until(t, "stored", func() bool { return s.Stores() == 1 }, nil)
			m.Stop(t)
			if c.anew {
				n.run("link", "delete", "vpn0")
				n.run("link", "add", "other0", "type", "veth", "peer", "name", "other0p")
				n.makeInterface("vpn0", "fe80::1/64")
			}
			to := "[fe80::1%vpn0]:7007"
			if name == "no interface" {
				to = c.listen
			}
			var waiting net.Conn
			if !c.anew { // one who waits meanwhile
				var err error
				if waiting, err = n.dial(to); err != nil {
					t.Fatal(err)
				}
				defer waiting.Close()
			}
			o.Passed = s.Stored(t)
			m = o.Start(t)
			if e := m.WaitFor(t, systest.Is("listening")); e.From != c.want {
				t.Errorf("from %q, want %q: %s", e.From, c.want, e.Line)
			}
			if waiting != nil {
				if said, err := io.ReadAll(waiting); err != nil || len(said) == 0 {
					t.Errorf("who waited got %q, %v", said, err)
				}
			}
			if said, err := n.answer(to); err != nil || said == "" {
				t.Errorf("%q, %v", said, err)
			}
			systest.Until(t, "one socket is stored", func() bool { return s.Stores() == 1 }, func() string { return fmt.Sprint(s.Stores()) })
		})
	}
}

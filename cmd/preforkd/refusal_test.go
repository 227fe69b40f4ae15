package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/osthread"
)

func TestOverflowRefuses(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `max-connections = 2`, `overflow = "refuse"`))
	first, second := m.Dial(t), m.Dial(t)
	first.Echo(t, "hello")
	second.Echo(t, "hello")
	for range 3 {
		refusedFor(t, m, m.Dial(t), "max-connections")
	}
	first.Close()
	first.End(t)
	roomAgain(t, func() *systest.Client { return m.Dial(t) })
}

// roomAgain waits for a connection that is served. A slot is free a moment after
// the log has told of the end of its connection.
func roomAgain(t *testing.T, dial func() *systest.Client) {
	t.Helper()
	systest.Until(t, "there is room again", func() bool { return dial().TryEcho("there is room again") == nil }, nil)
}

// Sources are single IPv4 addresses and IPv6 /64s, and each has its own limit.
func TestConnectionsPerSource(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--listen", "0.0.0.0:0", "--max-connections-per-source", "1"}, program("/bin/cat")...)...)
	m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
	first := dialSource(t, m, "127.0.0.2")
	first.Echo(t, "hello")
	e := refusedFor(t, m, dialSource(t, m, "127.0.0.2"), "max-connections-per-source")
	if e.Source != "127.0.0.2/32" {
		t.Errorf("source %q", e.Source)
	}
	dialSource(t, m, "127.0.0.3").Echo(t, "another source")
	first.Close()
	first.End(t)
	roomAgain(t, func() *systest.Client { return dialSource(t, m, "127.0.0.2") })
}

func TestSourcePrefix(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--listen", "0.0.0.0:0", "--max-connections-per-source", "1", "--source-prefix-v4", "24"}, program("/bin/cat")...)...)
	m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
	dialSource(t, m, "127.0.1.2").Echo(t, "hello")
	if e := refusedFor(t, m, dialSource(t, m, "127.0.1.3"), "max-connections-per-source"); e.Source != "127.0.1.0/24" {
		t.Errorf("source %q", e.Source)
	}
	dialSource(t, m, "127.0.2.3").Echo(t, "another source")
}

// Users of a unix socket are sources too.
func TestConnectionsPerUser(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/s"
	m := systest.Start(t, append([]string{"--listen", "unix:" + path, "--max-connections-per-source", "1"}, program("/bin/cat")...)...)
	m.Dial(t).Echo(t, "hello")
	m.Dial(t).ExpectGone(t)
	if e := m.WaitFor(t, systest.Is(systest.Refused)); e.Reason != "max-connections-per-source" || !strings.HasPrefix(e.Source, "unix:uid=") {
		t.Errorf("%s", e.Line)
	}
}

// A rate lets a burst through and no more; what it refuses is counted, and not
// all of it is logged.
func TestRates(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"rate", "rate-per-source"} {
		m := configured(t, 1, single(catting, key+` = "1/h"`, strings.Replace(key, "rate", "burst", 1)+` = "3"`))
		for range 3 {
			c := m.Dial(t)
			c.Echo(t, "hello")
			c.Close()
			c.End(t)
		}
		for range 20 {
			m.Dial(t).ExpectGone(t)
		}
		// Those that were not logged are counted in a line that comes later.
		systest.Until(t, "every refusal is accounted for", func() bool {
			n := 0
			for _, e := range m.Events(systest.Is(systest.Refused)) {
				n += e.Suppressed
				if e.Peer != "" {
					n++
				}
			}
			return n == 20
		}, nil)
		logged := 0
		for _, e := range m.Events(systest.Is(systest.Refused)) {
			if e.Reason != key {
				t.Errorf("%s", e.Line)
			}
			if e.Peer != "" {
				logged++
			}
		}
		if logged == 0 || logged > 6 {
			t.Errorf("%d refusals logged", logged)
		}
		m.Signal(t, syscall.SIGUSR1)
		status := m.Wait(t, 2, systest.Is("status"))[1]
		if want := fmt.Sprintf(`"refused_by_reason":{"%s":20}`, key); !strings.Contains(status.Line, want) || !strings.Contains(status.Line, `"accepted":23,"refused":20,"failed":0,"reaped":3`) {
			t.Errorf("no %s in %s", want, status.Line)
		}
	}
}

// Whoever is refused reads the message to its end, even if what it sent lies
// unread, and no accept goroutine waits for anybody who does not read.
func TestRefuseMessage(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `max-connections = 1`, `overflow = "refuse"`, `refuse-message = "too busy\r\n"`))
	holder := m.Dial(t)
	holder.Echo(t, "hello")
	var deaf []*systest.Client
	for range 100 { // more than may linger
		c := m.Dial(t)
		c.Send(t, strings.Repeat("unread ", 1000))
		deaf = append(deaf, c)
	}
	for _, c := range deaf {
		c.Close()
	}
	systest.Until(t, "a message for a client that reads", func() bool {
		c := m.Dial(t)
		defer c.Close()
		c.Send(t, strings.Repeat("unread ", 100))
		got, err := io.ReadAll(c)
		return string(got) == "too busy\r\n" && err == nil
	}, nil)
}

func TestAddressRules(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, `[service.one]
listen = ["0.0.0.0:0"]
program = ["/bin/sh", "-c", 'read line; echo "$line $WHO"']
env = ["WHO=anybody"]
allow = ["127.0.0.0/24", "127.0.9.0/24"]
deny = ["127.0.0.8/29", "127.0.9.0/24"]
[[service.one.rule]]
from = ["127.0.0.9"]
env = ["WHO=nine"]
[[service.one.rule]]
from = ["127.0.0.10"]
program = ["/bin/sh", "-c", 'read line; echo "another program"']
[[service.one.rule]]
from = ["127.0.0.11"]
action = "deny"
[[service.one.rule]]
from = ["127.0.1.0/24"]
max-connections-per-source = 1
max-lifetime = "1h"
`)
	m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
	for source, want := range map[string]string{
		"127.0.0.1":  "hello anybody\n",
		"127.0.0.12": "denied",
		"127.0.0.9":  "hello nine\n",
		"127.0.0.10": "another program\n",
		"127.0.0.11": "denied",
		"127.0.9.1":  "denied", // deny wins on equal
		"127.0.7.1":  "denied", // not on the list
		"127.0.1.1":  "hello anybody\n",
	} {
		c := dialSource(t, m, source)
		if want == "denied" {
			refusedFor(t, m, c, "denied")
			continue
		}
		c.Send(t, "hello\n")
		if got := c.ExpectEnd(t); got != want {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
	dialSource(t, m, "127.0.1.2").Worker(t)
	refusedFor(t, m, dialSource(t, m, "127.0.1.2"), "max-connections-per-source")
	m.StopSignal = syscall.SIGQUIT
}

// Rules reach connections of spares too: their environment comes late, and
// another program is not theirs to become.
func TestAddressRulesWithSpares(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, `[service.one]
listen = ["0.0.0.0:0"]
program = ["/bin/sh", "-c", 'read line; echo "$line $WHO"']
spares = 2
[[service.one.rule]]
from = ["127.0.0.9"]
env = ["WHO=nine"]
[[service.one.rule]]
from = ["127.0.0.10"]
program = ["/bin/sh", "-c", 'read line; echo "another program"']
`)
	m.StopSignal = syscall.SIGQUIT
	m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
	for range 3 {
		for source, want := range map[string]string{"127.0.0.1": "hello \n", "127.0.0.9": "hello nine\n", "127.0.0.10": "another program\n"} {
			c := dialSource(t, m, source)
			c.Send(t, "hello\n")
			if got := c.ExpectEnd(t); got != want {
				t.Errorf("%s: got %q, want %q", source, got, want)
			}
		}
	}
}

// IPv4 clients of a dual-stack listener fall under IPv4 rules, unix peers under
// those of users and groups.
func TestAddressRulesByFamily(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/s"
	m := configured(t, 2, `[service.one]
listen = [":0", "unix:`+path+`"]
program = ["/bin/cat"]
deny = ["127.0.0.2", "::1", "uid:`+fmt.Sprint(syscall.Geteuid())+`"]
`)
	m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
	m.Dial(t).Echo(t, "hello")
	dialSource(t, m, "127.0.0.2").ExpectGone(t)
	m.DialTo(t, "tcp", "[::1]:"+m.Listeners[0].Port()).ExpectGone(t)
	m.DialTo(t, "unix", path).ExpectGone(t)
	sources := map[string]bool{}
	for _, e := range m.Wait(t, 3, systest.Is(systest.Refused)) {
		sources[e.Source] = e.Reason == "denied"
	}
	for _, want := range []string{"127.0.0.2/32", "::/64", fmt.Sprintf("unix:uid=%d", syscall.Geteuid())} {
		if !sources[want] {
			t.Errorf("%s is not denied: %v", want, sources)
		}
	}
}

// From start connections on some are refused; at full all are.
func TestRandomEarlyDrop(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `random-early-drop = "2:100:3"`))
	for range 2 {
		m.Dial(t).Echo(t, "hello")
	}
	for range 5 {
		m.Dial(t).ExpectGone(t)
	}
	for _, e := range m.Wait(t, 5, systest.Is(systest.Refused)) {
		if e.Reason != "early-drop" {
			t.Errorf("%s", e.Line)
		}
	}
}

// A source whose worker ends badly is refused for a while; exempt ones and dry
// runs are not.
func TestPenalties(t *testing.T) {
	t.Parallel()
	const program = `program = ["/bin/sh", "-c", 'read line; case $line in code) exit 7;; signal) kill -SEGV $$;; esac; exit 8']`
	for name, c := range map[string]struct {
		line    string
		more    string
		refused bool
	}{
		"code":         {"code", "", true},
		"signal":       {"signal", "", true},
		"another code": {"nothing", "", false},
		"exempt":       {"code", `penalty-exempt = ["127.0.0.0/8"]`, false},
		"dry run":      {"code", `penalty-dry-run = true`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configured(t, 1, strings.Replace(single(program, `penalty-exit-codes = [7]`, `penalty-signals = ["SEGV"]`, `penalty = "5m"`, c.more), "127.0.0.1", "0.0.0.0", 1))
			m.Listeners[0].Address = "127.0.0.1:" + m.Listeners[0].Port()
			bad := m.Dial(t)
			bad.Send(t, c.line+"\n")
			bad.End(t)
			if !c.refused {
				again := m.Dial(t)
				again.Send(t, "nothing\n")
				again.End(t)
				if noted := len(m.Events(systest.Is(systest.Penalized))); (noted == 1) != (name == "dry run") {
					t.Errorf("%d penalties in the log", noted)
				}
				return
			}
			m.WaitFor(t, systest.Is(systest.Penalized))
			refusedFor(t, m, m.Dial(t), "penalty")
			other := dialSource(t, m, "127.0.0.2")
			other.Send(t, "nothing\n")
			other.End(t)
		})
	}
}

// What trips recovers by itself.
func TestPenaltyPasses(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(`program = ["/bin/sh", "-c", 'exit 7']`, `penalty-exit-codes = [7]`, `penalty = "20ms"`, `penalty-growth = 1`))
	m.Dial(t).End(t)
	systest.Until(t, "let in again", func() bool {
		c := m.Dial(t)
		c.ExpectGone(t)
		c.Close()
		return len(m.Events(systest.Is(systest.Accepted))) >= 2
	}, nil)
}

// An IPv6 source is a /64: the addresses of one share a limit, another one has
// its own. A network namespace has them all.
func TestSourcesOfIPv6(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	ip := systest.Need(t, "ip")
	systest.Need(t, "unshare")
	m := systest.Options{
		Wrap: []string{"unshare", "--net", "sh", "-c", ip + ` link set lo up; for a in fd00:1::1 fd00:1::2 fd00:2::1; do ` + ip + ` addr add $a/128 dev lo; done; exec "$@"`, "sh"},
		Args: append([]string{"--listen", "[::]:7007", "--max-connections-per-source", "1"}, program("/bin/cat")...),
	}.Start(t)
	within := func(source string) *systest.Client {
		t.Helper()
		return m.Wrap(dialInNamespace(t, m.PID, source, "[fd00:1::1]:7007"))
	}
	within("fd00:1::1").Echo(t, "hello")
	refusedFor(t, m, within("fd00:1::2"), "max-connections-per-source")
	within("fd00:2::1").Echo(t, "another network")
}

// dialInNamespace connects from an address to another in the network of a
// process.
func dialInNamespace(t *testing.T, pid int, from, to string) net.Conn {
	t.Helper()
	var conn net.Conn
	err := osthread.Run(func() error {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		socket := os.NewFile(uintptr(fd), "socket")
		defer socket.Close()
		server := netip.MustParseAddrPort(to)
		if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.MustParseAddr(from).As16()}); err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: server.Addr().As16(), Port: int(server.Port())}); err != nil {
			return err
		}
		conn, err = net.FileConn(socket)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func TestListenAddresses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "echo.sock")
	abstract := "@preforkd-test-" + strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name, listen string
		dial         func(l systest.Listener) (network string, addresses []string)
	}{
		{"IPv4", "127.0.0.1:0", func(l systest.Listener) (string, []string) {
			return "tcp4", []string{l.Address}
		}},
		{"IPv6", "[::1]:0", func(l systest.Listener) (string, []string) {
			return "tcp6", []string{"[::1]:" + l.Port()}
		}},
		{"dual stack", ":0", func(l systest.Listener) (string, []string) {
			return "tcp", []string{"127.0.0.1:" + l.Port(), "[::1]:" + l.Port(), "127.0.0.2:" + l.Port()}
		}},
		{"every IPv4 address", "0.0.0.0:0", func(l systest.Listener) (string, []string) {
			return "tcp4", []string{"127.0.0.1:" + l.Port(), "127.0.0.2:" + l.Port()}
		}},
		{"name", "localhost:0", func(l systest.Listener) (string, []string) {
			return "tcp", []string{l.Address}
		}},
		{"unix path", "unix:" + path, func(l systest.Listener) (string, []string) {
			return "unix", []string{path}
		}},
		{"abstract", "unix:" + abstract, func(l systest.Listener) (string, []string) {
			return "unix", []string{abstract}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, "--listen", c.listen, "echo")
			network, addresses := c.dial(m.Listeners[0])
			if network != "unix" {
				if port := m.Listeners[0].Port(); port == "" || port == "0" {
					t.Fatalf("the real port is not in the log: %+v", m.Listeners[0])
				}
			}
			for _, address := range addresses {
				client := m.DialTo(t, network, address)
				client.Echo(t, "hello")
				if network != "unix" {
					// The log names a client of either family in its own form.
					client.Accepted(t)
				}
			}
		})
	}
}

// IPv4 only means just that, and so does IPv6 only.
func TestFamiliesStayApart(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "--listen", "0.0.0.0:0", "--listen", "[::1]:0", "echo")
	for _, address := range []string{"[::1]:" + m.Listeners[0].Port(), "127.0.0.1:" + m.Listeners[1].Port()} {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("%s answers", address)
		}
	}
}

func TestSeveralListeners(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "echo.sock")
	m := systest.Start(t, "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "unix:"+path, "echo")
	if len(m.Listeners) != 4 {
		t.Fatalf("listeners: %+v", m.Listeners)
	}
	seen := map[string]bool{}
	for _, l := range m.Listeners {
		if seen[l.Address] {
			t.Errorf("%s is listed twice", l.Address)
		}
		seen[l.Address] = true
		m.DialTo(t, l.Network, l.Address).Echo(t, l.Address)
	}
}

func TestListenerOptions(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "echo")
	somaxconn, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	backlog, _ := strconv.Atoi(strings.TrimSpace(string(somaxconn)))
	listeners := 0
	for fd, s := range systest.SocketsOf(m.PID) {
		defer s.Close()
		if s.Option(unix.SOL_SOCKET, unix.SO_ACCEPTCONN) != 1 {
			continue
		}
		listeners++
		if got := s.Option(unix.SOL_SOCKET, unix.SO_REUSEADDR); got != 1 {
			t.Errorf("fd %d: SO_REUSEADDR is %d", fd, got)
		}
		if got := s.Option(unix.SOL_SOCKET, unix.SO_REUSEPORT); got != 0 {
			t.Errorf("fd %d: SO_REUSEPORT is %d: a second server could take the port", fd, got)
		}
		if got := s.Option(unix.SOL_SOCKET, unix.SO_PROTOCOL); got != unix.IPPROTO_TCP {
			t.Errorf("fd %d: protocol %d, want plain TCP", fd, got)
		}
		if got := s.Backlog(); got != backlog {
			t.Errorf("fd %d: backlog %d, want %d", fd, got, backlog)
		}
	}
	if listeners != 2 {
		t.Errorf("%d listening sockets", listeners)
	}
	for _, fd := range systest.FDs(m.PID) {
		if fd.Number > 2 && !fd.CloseOnExec() {
			t.Errorf("would be inherited: %v", fd)
		}
	}
}

// What a worker's connection is set to was chosen, for either handoff.
func TestConnectionOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		fd   int
	}{
		"worker": {[]string{"echo"}, 3},
		"stdio":  {[]string{"--", "/bin/cat"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, c.args...)
			client := m.Dial(t)
			client.Echo(t, "hello")
			s, err := systest.DuplicateSocket(client.Worker(t), c.fd)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for what, option := range map[string][3]int{
				"SO_PROTOCOL":  {unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
				"SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				"TCP_NODELAY":  {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			} {
				if got := s.Option(option[0], option[1]); got != option[2] {
					t.Errorf("%s is %d, want %d", what, got, option[2])
				}
			}
		})
	}
}

func init() {
	systest.Register("in-network", func(args []string) int { return inNetwork(args) })
}

// inNetwork runs a command in a network of its own that has a loopback only.
func inNetwork(args []string) int {
	runtime.LockOSThread() // the network is that of the thread, which executes the command
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fail("unshare the network: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("open a socket: %v", err)
	}
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fail("name the loopback: %v", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fail("bring the loopback up: %v", err)
	}
	return execute(args)
}

// The default address is one that only this machine can reach. The port is a
// fixed one, so the test needs a network where nobody else has it.
func TestDefaultAddress(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	nsenter, nc := systest.Need(t, "nsenter"), systest.Need(t, "nc")
	m := systest.Options{
		Wrap: systest.Helper("in-network"),
		Args: []string{"echo"}, NoListen: true,
	}.Start(t)
	if got := m.Listeners[0].Address; got != "127.0.0.1:7007" {
		t.Errorf("listens on %s", got)
	}
	out := command(t, "hello\n", nsenter, "--net=/proc/"+strconv.Itoa(m.PID)+"/ns/net", nc, "-N", "127.0.0.1", "7007")
	if out != "hello\n" {
		t.Errorf("%q came back", out)
	}
}

// Without a handler it is the echo handler that serves.
func TestDefaultHandler(t *testing.T) {
	t.Parallel()
	m := systest.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	if end := c.End(t); end.Reason != "eof" || end.Signal != "" {
		t.Errorf("unexpected end: %s", end.Line)
	}
	m.Signal(t, syscall.SIGTERM)
	stopped(t, m)
}

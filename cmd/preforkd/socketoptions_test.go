package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The options of a service are those of its listeners and of every connection.
func TestSocketOptions(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	m := configured(t, 1, single(catting, `nodelay = false`, `keepalive = "300s"`, `user-timeout = "90s"`, `defer-accept = "1s"`, `reuse-port = true`, `free-bind = true`,
		`bind-to-device = "lo"`, `backlog = 9`))
	c := m.Dial(t)
	c.Echo(t, "hello")
	check := func(name string, pid int, want map[[2]int]int) {
		t.Helper()
		sockets := systest.SocketsOf(pid)
		found := false
		for fd, s := range sockets {
			defer s.Close()
			if s.Option(unix.SOL_SOCKET, unix.SO_TYPE) != unix.SOCK_STREAM || s.Option(unix.SOL_SOCKET, unix.SO_DOMAIN) != unix.AF_INET {
				continue
			}
			if name == "listener" && s.Option(unix.SOL_SOCKET, unix.SO_ACCEPTCONN) == 0 {
				continue // the master's copy of the connection
			}
			found = true
			for option, value := range want {
				if got := s.Option(option[0], option[1]); got != value {
					t.Errorf("%s, fd %d, option %v: %d, want %d", name, fd, option, got, value)
				}
			}
			if name == "listener" {
				if n := s.Backlog(); n != 9 {
					t.Errorf("backlog %d", n)
				}
			}
		}
		if !found {
			t.Errorf("%s: no socket", name)
		}
	}
	shared := map[[2]int]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY}: 0, {unix.SOL_SOCKET, unix.SO_KEEPALIVE}: 1, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: 300,
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: 90_000,
	}
	check("connection", c.Worker(t), shared)
	shared[[2]int{unix.SOL_SOCKET, unix.SO_REUSEPORT}] = 1
	shared[[2]int{unix.IPPROTO_IP, unix.IP_FREEBIND}] = 1
	shared[[2]int{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}] = 1
	check("listener", m.PID, shared)
}

func TestKeepaliveOff(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `keepalive = "0s"`))
	c := m.Dial(t)
	c.Echo(t, "hello")
	for _, s := range systest.SocketsOf(c.Worker(t)) {
		defer s.Close()
		if got := s.Option(unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != 0 {
			t.Errorf("SO_KEEPALIVE %d", got)
		}
	}
}

// A peer that has vanished is given up after user-timeout, with data on its way to
// it: two minutes, unless the service says otherwise. Without it the kernel
// takes a quarter of an hour. So is a peer that is there and takes nothing.
func TestUserTimeout(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting))
	c := m.Dial(t)
	c.Echo(t, "hello")
	for _, s := range systest.SocketsOf(c.Worker(t)) {
		defer s.Close()
		if s.Option(unix.SOL_SOCKET, unix.SO_DOMAIN) != unix.AF_INET {
			continue // stderr
		}
		if got := s.Option(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != 120_000 {
			t.Errorf("TCP_USER_TIMEOUT %d", got)
		}
	}
	for name, vanish := range map[string]func(fd int) error{
		// The kernel of the client drops what comes for it, without a word.
		"vanished": func(fd int) error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
		},
		"takes nothing": func(int) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configured(t, 1, single(`program = ["/bin/cat", "-", "/dev/zero"]`, `user-timeout = "1s"`))
			c := m.Dial(t)
			c.Echo(t, "hello")
			raw, err := c.Conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := raw.Control(func(fd uintptr) { err = vanish(int(fd)) }); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.CloseWrite(t) // and with it the program comes to its zeros
			c.End(t)
		})
	}
}

// With free-bind an address may be listened at that is not here; with v6-only
// off, [::] takes IPv4 clients too.
func TestFreeBindAndV6Only(t *testing.T) {
	t.Parallel()
	systest.Start(t, append([]string{"--free-bind", "--listen", "192.0.2.77:0"}, program("/bin/cat")...)...)
	m := systest.Start(t, append([]string{"--v6-only=false", "--listen", "[::]:0"}, program("/bin/cat")...)...)
	m.DialTo(t, "tcp", "127.0.0.1:"+m.Listeners[0].Port()).Echo(t, "hello")
	only := systest.Start(t, append([]string{"--listen", "[::]:0"}, program("/bin/cat")...)...)
	only.DialTo(t, "tcp", "[::1]:"+only.Listeners[0].Port()).Echo(t, "hello")
	if r := systest.Run(t, "serve", "--bind-to-device", "nowhere0", "--listen", "127.0.0.1:0", "--", "/bin/cat"); r.Code != 1 {
		t.Errorf("%+v", r)
	}
}

// Two masters share a port when both say so.
func TestReusePort(t *testing.T) {
	t.Parallel()
	first := systest.Start(t, append([]string{"--reuse-port"}, program("/bin/cat")...)...)
	second := systest.Start(t, append([]string{"--reuse-port", "--listen", first.Listeners[0].Address}, program("/bin/cat")...)...)
	first.Stop(t)
	second.Dial(t).Echo(t, "hello")
}

func TestSocketFile(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	path := systest.Dir(t) + "/s"
	text := func(mode, owner string) string {
		return fmt.Sprintf("[service.one]\nlisten = [\"unix:%s\"]\n%s\nsocket-mode = %q\nsocket-owner = %q\nsocket-group = \"daemon\"\n", path, catting, mode, owner)
	}
	m := configured(t, 1, text("0660", "nobody"))
	check := func(mode os.FileMode, uid uint32) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != mode || st.Uid != uid || st.Gid != 1 {
			t.Errorf("mode %v, owner %d:%d", info.Mode(), st.Uid, st.Gid)
		}
	}
	check(0o660, 65534)
	m.Dial(t).Echo(t, "hello")
	reloaded(t, m, text("0600", "0"))
	check(0o600, 0)
	m.Dial(t).Echo(t, "hello")
}

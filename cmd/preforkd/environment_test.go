package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// leaky is an environment of which no worker may see anything.
var leaky = []string{
	"NOTIFY_SOCKET=/nowhere", "WATCHDOG_USEC=60000000", "WATCHDOG_PID=1", "JOURNAL_STREAM=1:2",
	"LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "INVOCATION_ID=1", "SECRET=secret", "HOME=/root", "LD_LIBRARY_PATH=",
}

// environment waits for a worker's program and returns its whole environment,
// without the connection's id and the version, which it returns apart.
func environment(t *testing.T, pid int) (env []string, conn string) {
	t.Helper()
	systest.Until(t, "a program with an environment", func() bool {
		return systest.Getenv(pid, "PREFORKD_CONNECTION") != "" || !systest.Alive(pid)
	}, nil)
	if version := systest.Getenv(pid, "PREFORKD_VERSION"); version == "" {
		t.Error("PREFORKD_VERSION is missing")
	}
	for _, kv := range systest.Environ(pid) {
		if hasKey(kv, "PREFORKD_VERSION") {
			continue
		}
		if hasKey(kv, "PREFORKD_CONNECTION") {
			conn = kv[len("PREFORKD_CONNECTION="):]
			continue
		}
		env = append(env, kv)
	}
	return env, conn
}

func hasKey(kv, key string) bool { return len(kv) > len(key) && kv[:len(key)+1] == key+"=" }

// A worker's environment is exactly what the contract lists, in every handoff
// and over every family, whatever the master's holds.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"worker":  {"echo"},
		"stdio":   program("/bin/cat"),
		"program": {"--handoff", "worker", "--", "/bin/sleep", "1000"}, // a shell adds variables of its own
		"systemd": {"--handoff", "systemd", "--", "/bin/sleep", "1000"},

		"spare stdio":   {"--spares", "2", "--", "/bin/cat"},
		"spare systemd": {"--spares", "2", "--handoff", "systemd", "--", "/bin/sleep", "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(systest.Dir(t), "s")
			m := systest.Options{
				Env:  append([]string{"LANG=C.UTF-8", "TZ=Antarctica/Troll"}, leaky...),
				Args: append([]string{"--listen", "127.0.0.1:0", "--listen", "[::]:0", "--listen", "unix:" + path}, args...),
			}.Start(t)
			m.StopSignal = syscall.SIGQUIT
			common := []string{"LANG=C.UTF-8", "TZ=Antarctica/Troll", "PATH=" + os.Getenv("PATH"), "PREFORKD_SERVICE=" + m.Listeners[0].Service}
			if name == "worker" {
				common = append(common, "GOMAXPROCS=1")
			}

			// What systemd's handoff adds to it, with the program's own pid.
			listen := func(pid int) []string {
				if !strings.HasSuffix(name, "systemd") {
					return nil
				}
				systest.Until(t, "a program", func() bool { return systest.Getenv(pid, "LISTEN_PID") != "" || !systest.Alive(pid) }, nil)
				return []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=connection", fmt.Sprintf("LISTEN_PID=%d", pid)}
			}
			wait := func() {
				if m.Spares > 0 {
					m.WaitSpares(t, m.Spares)
				}
			}
			for _, address := range []string{m.Listeners[0].Address, "[::1]:" + m.Listeners[1].Port()} {
				for n := range 2 {
					wait()
					c := m.DialTo(t, "tcp", address)
					accepted := c.Accepted(t)
					passed := listen(accepted.PID)
					got, conn := environment(t, c.Worker(t))
					if conn != accepted.Conn {
						t.Errorf("PREFORKD_CONNECTION=%s, the log says %s", conn, accepted.Conn)
					}
					local, remote := c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr)
					want := append([]string{
						"PROTO=TCP",
						"TCPLOCALIP=" + local.IP.String(), "TCPLOCALPORT=" + strconv.Itoa(local.Port),
						"TCPREMOTEIP=" + remote.IP.String(), "TCPREMOTEPORT=" + strconv.Itoa(remote.Port),
						"REMOTE_ADDR=" + remote.IP.String(), "REMOTE_PORT=" + strconv.Itoa(remote.Port),
						// Each source has the connections of the loop so far.
						"TCPCONNNUM=" + strconv.Itoa(n+1),
					}, common...)
					want = append(want, passed...)
					slices.Sort(want)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (-want +got):\n%s", address, diff)
					}
				}
			}

			client := filepath.Join(systest.Dir(t), "client")
			for n, bound := range []string{"", client} {
				wait()
				before := len(m.Events(systest.Is(systest.Accepted)))
				var from *net.UnixAddr
				if bound != "" {
					from = &net.UnixAddr{Name: bound, Net: "unix"}
				}
				c, err := net.DialUnix("unix", from, &net.UnixAddr{Name: path, Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				accepted := m.Wait(t, before+1, systest.Is(systest.Accepted))[before]
				passed := listen(accepted.PID)
				got, _ := environment(t, m.Worker(t, accepted))
				want := append([]string{
					"PROTO=IPC",
					fmt.Sprintf("IPCREMOTEEUID=%d", os.Geteuid()), fmt.Sprintf("IPCREMOTEEGID=%d", os.Getegid()),
					"IPCREMOTEPATH=" + bound,
				}, common...)
				want = append(want, passed...)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("unix client %d (-want +got):\n%s", n, diff)
				}
			}
		})
	}
}

// What the master's environment lacks is not made up for the workers.
func TestEnvironmentIsNotMadeUp(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, program("/bin/cat")...)
	c := m.Dial(t)
	env, _ := environment(t, c.Worker(t))
	for _, kv := range env {
		if hasKey(kv, "LANG") || hasKey(kv, "TZ") {
			t.Errorf("%s has been made up", kv)
		}
	}
}

// A client over IPv4 of a dual-stack listener is one over IPv4.
func TestEnvironmentUnmapsAddresses(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--listen", ":0"}, program("/bin/cat")...)...)
	c := m.DialTo(t, "tcp4", "127.0.0.1:"+m.Listeners[0].Port())
	pid := c.Worker(t)
	environment(t, pid)
	for _, key := range []string{"TCPLOCALIP", "TCPREMOTEIP", "REMOTE_ADDR"} {
		if got := systest.Getenv(pid, key); got != "127.0.0.1" {
			t.Errorf("%s=%s", key, got)
		}
	}
}

// TCPCONNNUM counts the live connections of one source and gives them back.
func TestConnectionNumber(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, append([]string{"--listen", "0.0.0.0:0"}, program("/bin/cat")...)...)
	dial := func(source string) *systest.Client {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:"+m.Listeners[0].Port())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return m.Wrap(conn)
	}
	number := func(c *systest.Client) string {
		t.Helper()
		pid := c.Worker(t)
		environment(t, pid)
		return systest.Getenv(pid, "TCPCONNNUM")
	}
	first := dial("127.0.0.1")
	for i, want := range []string{"1", "2", "3"} {
		c := first
		if i > 0 {
			c = dial("127.0.0.1")
		}
		if got := number(c); got != want {
			t.Errorf("connection %d of a source: TCPCONNNUM=%s", i+1, got)
		}
	}
	if got := number(dial("127.0.0.2")); got != "1" {
		t.Errorf("first connection of another source: TCPCONNNUM=%s", got)
	}
	first.Close()
	first.End(t)
	if got := number(dial("127.0.0.1")); got != "3" {
		t.Errorf("third live connection after one has ended: TCPCONNNUM=%s", got)
	}
}

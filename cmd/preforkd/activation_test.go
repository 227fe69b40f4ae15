package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A unit is a listening socket as a socket unit would have it.
type unit struct {
	net.Listener
	file *os.File
}

// newUnit listens and passes nothing yet. The socket lives until the test ends.
func newUnit(t *testing.T, network, address string) unit {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	file, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		file.Close()
		l.Close()
	})
	return unit{l, file}
}

func (u unit) dial(t *testing.T, m *systest.Master) *systest.Client {
	t.Helper()
	return m.DialTo(t, u.Addr().Network(), u.Addr().String())
}

// Sockets are served by their names; the daemon comes and goes, they stay, and
// who connects meanwhile is served by the next one.
func TestActivation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "s")
	tcp, file, abstract := newUnit(t, "tcp", "127.0.0.1:0"), newUnit(t, "unix", path), newUnit(t, "unix", "@"+path)
	options := systest.Options{
		Config: `[service.echo]
handler = "echo"
[service.date]
program = ["/bin/sh", "-c", "echo this is date"]
listen = ["127.0.0.1:1"]   # what is passed takes its place
`,
		Listeners: 3,
		Passed:    []systest.Passed{{File: tcp.file, Name: "echo"}, {File: file.file, Name: "date"}, {File: abstract.file, Name: "echo"}},
	}
	m := options.Start(t)
	for _, e := range m.Events(systest.Is(systest.Listening)) {
		if e.From != "passed" {
			t.Errorf("unexpected event: %s", e.Line)
		}
	}
	c := tcp.dial(t, m)
	c.Echo(t, "hello\n")
	for _, fd := range systest.FDs(c.Worker(t)) {
		if strings.HasPrefix(fd.Target, "socket:") && fd.Number > 4 {
			t.Errorf("the worker has %v", fd)
		}
	}
	c.Close()
	d := file.dial(t, m)
	d.Expect(t, "this is date\n")
	d.Close()
	a := abstract.dial(t, m)
	a.Echo(t, "hello\n")
	a.Close()
	m.WaitIdle(t)
	m.Stop(t)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket's file: %v", err)
	}

	// They wait in the kernel's queue.
	var waiting []net.Conn
	for _, u := range []unit{tcp, file, abstract} {
		conn, err := net.Dial(u.Addr().Network(), u.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		waiting = append(waiting, conn)
	}
	m = options.Start(t)
	clients := []*systest.Client{m.Wrap(waiting[0]), m.Wrap(waiting[1]), m.Wrap(waiting[2])}
	clients[0].Echo(t, "hello\n")
	clients[1].Expect(t, "this is date\n")
	clients[2].Echo(t, "hello\n")
	endAll(t, m, clients)
}

// endAll closes clients that were there before the master was, and takes what
// descriptors it has then for those of a master at rest.
func endAll(t *testing.T, m *systest.Master, clients []*systest.Client) {
	t.Helper()
	for _, c := range clients {
		c.Close()
	}
	m.Wait(t, len(clients), systest.Is(systest.Reaped))
	m.Baseline(t)
}

// Without names there is one service that a socket can be for, and flags do.
func TestActivationWithoutNames(t *testing.T) {
	t.Parallel()
	u, v := newUnit(t, "tcp", "127.0.0.1:0"), newUnit(t, "tcp", "[::1]:0")
	m := systest.Options{
		Args: program("cat"), Listeners: 2,
		Passed: []systest.Passed{{File: u.file}, {File: v.file, Name: "preforkd.socket"}},
	}.Start(t)
	for _, u := range []unit{u, v} {
		c := u.dial(t, m)
		c.Echo(t, "hello\n")
		c.Close()
	}
}

// What was passed to somebody else is nothing to the master.
func TestActivationOfAnother(t *testing.T) {
	t.Parallel()
	m := systest.Options{Env: []string{"LISTEN_PID=1", "LISTEN_FDS=2000000000", "LISTEN_FDNAMES=echo"}}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if value := systest.Getenv(c.Worker(t), name); value != "" {
			t.Errorf("the worker has %s=%s", name, value)
		}
	}
	c.Close()
}

// Whatever is wrong with what is passed is one line, which says what to change.
func TestActivationComplaints(t *testing.T) {
	t.Parallel()
	u := newUnit(t, "tcp", "127.0.0.1:0")
	conn, err := net.Dial("tcp", u.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	connected, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	datagram, err := packets.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unbound := os.NewFile(uintptr(fd), "unbound")
	defer unbound.Close()

	two := "[service.echo]\nhandler = \"echo\"\n[service.cat]\nprogram = [\"cat\"]\n"
	for name, test := range map[string]struct {
		config string
		passed systest.Passed
		want   string
	}{
		"no name":         {two, systest.Passed{File: u.file}, "a passed socket has no name, and there are the services echo, cat: its socket unit needs FileDescriptorName= with one of them"},
		"another name":    {two, systest.Passed{File: u.file, Name: "ehco"}, `a passed socket has the name "ehco", and no service has: FileDescriptorName= must be one of echo, cat`},
		"without socket":  {two, systest.Passed{File: u.file, Name: "cat"}, "service echo has no socket: it lists none, and none was passed by that name (FileDescriptorName=)"},
		"Accept=yes":      {"", systest.Passed{File: connected, Name: "connection"}, "passed descriptor 1 of 1, connection, is a connection: the socket unit has Accept=yes, which starts a process for each connection itself; preforkd needs Accept=no"},
		"datagrams":       {"", systest.Passed{File: datagram}, "passed descriptor 1 of 1, without a name, is a datagram socket: the socket unit needs ListenStream= in place of ListenDatagram="},
		"not a socket":    {"", systest.Passed{File: null, Name: "echo"}, "passed descriptor 1 of 1, echo, is not a socket: the socket unit needs ListenStream="},
		"not a listener":  {"", systest.Passed{File: unbound, Name: "echo"}, "passed descriptor 1 of 1, echo, is a socket that does not listen"},
		"name of a store": {"[service.\"stored.x\"]\nhandler = \"echo\"\n", systest.Passed{File: u.file}, `service "stored.x": names that begin with "stored." are those of stored sockets`},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"serve", "echo"}
			if test.config != "" {
				path := filepath.Join(systest.Dir(t), "preforkd.toml")
				if err := os.WriteFile(path, []byte(test.config), 0o644); err != nil {
					t.Fatal(err)
				}
				args = []string{"serve", "--config", path}
			}
			r := systest.Options{Passed: []systest.Passed{test.passed}}.Run(t, args...)
			if r.Code != exitUsage || strings.Count(r.Stderr, "\n") != 1 || !strings.HasSuffix(r.Stderr, ": "+test.want+"\n") {
				t.Errorf("exit %d: %s\nwant %s", r.Code, r.Stderr, test.want)
			}
		})
	}
	r := systest.Options{Wrap: []string{"/bin/sh", "-c", `LISTEN_FDS=3 LISTEN_PID=$$ exec "$@"`, "sh"}}.Run(t, "serve")
	oneLine(t, r.Stderr)
	if r.Code != exitUsage || !strings.Contains(r.Stderr, "descriptor ") {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
	r = systest.Options{Wrap: []string{"/bin/sh", "-c", `LISTEN_FDS=2000000000 LISTEN_PID=$$ exec "$@"`, "sh"}}.Run(t, "serve")
	oneLine(t, r.Stderr)
	if r.Code != exitUsage {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
}

// A service of a file may be without addresses where it can have passed ones.
func TestCheckActivated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	if err := os.WriteFile(path, []byte("[service.echo]\nhandler = \"echo\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := systest.Run(t, "check", "--config", path)
	if want := path + ":1:10: service.echo: listen is missing, and no socket was passed by a service manager\n"; r.Code != exitUsage || r.Stderr != want {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
	r = systest.Run(t, "check", "--activated", "--config", path)
	if r.Code != exitOK || strings.Contains(r.Stdout, "listen") {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// A reload may take a service away whose socket was passed, and bring it back.
func TestReloadOfActivated(t *testing.T) {
	t.Parallel()
	u, v := newUnit(t, "tcp", "127.0.0.1:0"), newUnit(t, "tcp", "127.0.0.1:0")
	echo, cat := "[service.echo]\nhandler = \"echo\"\n", "[service.cat]\nprogram = [\"cat\"]\n"
	m := systest.Options{
		Config: echo + cat, Listeners: 2,
		Passed: []systest.Passed{{File: u.file, Name: "echo"}, {File: v.file, Name: "cat"}},
	}.Start(t)
	if e := m.Reload(t, echo); e.Msg != systest.Reloaded || e.Closed != v.Addr().String() {
		t.Errorf("unexpected event: %s", e.Line)
	}
	if e := m.WaitFor(t, systest.Is("socket without a service")); e.Name != "cat" {
		t.Errorf("unexpected event: %s", e.Line)
	}
	conn, err := net.Dial("tcp", v.Addr().String()) // waits
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if e := m.Reload(t, echo+cat+"max-connections = 3\n"); e.Msg != systest.Reloaded || e.Opened != v.Addr().String() {
		t.Errorf("unexpected event: %s", e.Line)
	}
	c := m.Wrap(conn)
	c.Echo(t, "hello\n")
	c.Close()
	if e := m.Reload(t, echo+cat+"[service.more]\nprogram = [\"cat\"]\n"); e.Msg != systest.NotReloaded || !strings.HasPrefix(e.Error, "service more has no socket") {
		t.Errorf("unexpected event: %s", e.Line)
	}
	d := u.dial(t, m)
	d.Echo(t, "hello\n")
	d.Close()
}

// People without units have systemd-socket-activate, which starts the daemon
// with the first connection.
func TestSystemdSocketActivate(t *testing.T) {
	t.Parallel()
	systest.Need(t, "systemd-socket-activate")
	path := filepath.Join(systest.Dir(t), "s")
	cmd := exec.Command("systemd-socket-activate", "-l", path, systest.Preforkd(t), "serve", "--log-format", "json")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	go io.Copy(io.Discard, stderr)
	var conn net.Conn
	systest.Until(t, "systemd-socket-activate listens", func() bool {
		conn, err = net.Dial("unix", path)
		return err == nil
	}, nil)
	defer conn.Close()
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 6)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello\n" {
		t.Fatalf("%q, %v", answer, err)
	}
	conn.Close()
	// It has become the master, in its place.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

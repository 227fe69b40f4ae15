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

// says returns a condition for messages to a supervisor that begin so.
func says(start string) func(string) bool {
	return func(message string) bool { return strings.HasPrefix(message, start) }
}

// The manager hears of what happens in its order: what is stored, that the
// master is ready, how it is, that it stops; and it is asked for time.
func TestManagerIsTold(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	m := systest.Options{Env: []string{s.Env(), "WATCHDOG_USEC=200000"}}.Start(t)
	at := s.WaitFor(t, 0, "a listener to store", says("FDSTORE=1\n"))
	at = s.WaitFor(t, at, "ready", says("READY=1"))
	at = s.WaitFor(t, at, "a status", says("STATUS=serving: 0 connections live, 0 spawned, 0 refused"))
	for range 3 {
		at = s.WaitFor(t, at, "a sign of life", says("WATCHDOG=1"))
	}
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	for _, variable := range systest.Environ(c.Worker(t)) {
		if strings.HasPrefix(variable, "NOTIFY_SOCKET=") || strings.HasPrefix(variable, "WATCHDOG_") {
			t.Errorf("the worker has %s", variable)
		}
	}
	at = s.WaitFor(t, at, "a status", says("STATUS=serving: 1 connections live, 1 spawned, 0 refused"))
	m.Signal(t, syscall.SIGTERM)
	at = s.WaitFor(t, at, "stopping", says("STOPPING=1"))
	at = s.WaitFor(t, at, "a status", says("STATUS=draining: 1 connections live"))
	at = s.WaitFor(t, at, "a sign of life", says("WATCHDOG=1"))
	at = s.WaitFor(t, at, "more time", says("EXTEND_TIMEOUT_USEC="))
	s.WaitFor(t, at, "yet more time", says("EXTEND_TIMEOUT_USEC="))
	c.Echo(t, "still here\n")
	c.Close()
	m.WaitExit(t)
}

// A master that stands still gives no sign of life. Another with a supervisor of
// its own shows how long is long enough: that one may give signs while it stops.
func TestStoppedMasterIsSilent(t *testing.T) {
	t.Parallel()
	s, watch := systest.NewSupervisor(t), "WATCHDOG_USEC=100000"
	m := systest.Options{Env: []string{s.Env(), watch}}.Start(t)
	s.WaitFor(t, 0, "a sign of life", says("WATCHDOG=1"))
	systest.Halt(t, m.PID)
	s.Say(t, "MARK=1")
	// What the master had said before has been read by then.
	at := s.WaitFor(t, 0, "the mark", says("MARK=1"))
	o := systest.NewSupervisor(t)
	other := systest.Options{Env: []string{o.Env(), watch}, Args: []string{"--listen", "127.0.0.1:0"}}.Start(t)
	next := 0
	for range 5 {
		next = o.WaitFor(t, next, "a sign of life of the other", says("WATCHDOG=1"))
	}
	other.Stop(t)
	s.Say(t, "MARK=2")
	s.WaitFor(t, at, "the second mark", says("MARK=2"))
	if said := s.Messages()[at:]; len(said) != 1 {
		t.Errorf("a stopped master says %q", said)
	}
	m.Signal(t, syscall.SIGCONT)
}

// Nobody is told that a master is ready whose workers do not start.
func TestNotReady(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ script, want string }{
		"exits":        {"exit 3", "service echo: no worker can be started: it exited with 3 (3)"},
		"version":      {"exit 105", "service echo: no worker can be started: it exited with 105 (other contract version)"},
		"is killed":    {"kill -SEGV $$", "service echo: no worker can be started: it was ended by SIGSEGV"},
		"cannot start": {"", "service echo: no worker can be started: fork/exec "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := systest.NewSupervisor(t)
			path := filepath.Join(systest.Dir(t), "worker")
			text := "#!/bin/sh\n" + test.script + "\n"
			if test.script == "" {
				text = "\x7fELF of no machine" // which is found at the exec, and not before
			}
			systest.WriteProgram(t, path, text)
			r := systest.Options{Env: []string{s.Env()}}.Run(t, "serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--worker-binary", path)
			if r.Code != exitFailure || !strings.Contains(r.Stderr, `"msg":"not started","error":"`+test.want) {
				t.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
			for _, message := range s.Messages() {
				if says("READY=1")(message) || says("FDSTORE=1")(message) {
					t.Errorf("said %q", message)
				}
			}
		})
	}
}

// A program is not run to prove that it can be, and one that takes a connection
// by the worker handoff and knows nothing of spares proves it by its end.
func TestProofOfPrograms(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(systest.Dir(t), "trace")
	for _, args := range [][]string{
		program(sh("echo ran >>" + trace)...),
		append([]string{"--spares", "2"}, program(sh("echo ran >>"+trace)...)...),
		append([]string{"--handoff", "worker"}, program(sh("cat <&3 >&3")...)...),
		append([]string{"--handoff", "worker"}, program("sleep", "1000")...),
	} {
		s := systest.NewSupervisor(t)
		m := systest.Options{Env: []string{s.Env()}, Args: args}.Start(t)
		s.WaitFor(t, 0, "ready", says("READY=1"))
		m.WaitIdle(t)
		m.Stop(t)
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("the program has run without a connection")
	}
}

// Every reload is reported to its end, whether it changes anything or not.
func TestManagerIsToldOfReloads(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	config := "[service.echo]\nlisten = [\"127.0.0.1:0\"]\nhandler = \"echo\"\n"
	m := systest.Options{Env: []string{s.Env()}, Config: config}.Start(t)
	at := s.WaitFor(t, 0, "ready", says("READY=1"))
	for _, test := range []struct{ text, event, status string }{
		{config + "max-connections = 3\n", systest.Reloaded, "STATUS=serving: 0 connections live"},
		{"nonsense", systest.NotReloaded, "STATUS=serving: 0 connections live, 0 spawned, 0 refused; not reloaded: " + m.Config + ":1:"},
		{config, systest.Reloaded, "STATUS=serving: 0 connections live, 0 spawned, 0 refused"},
	} {
		before := at
		if e := m.Reload(t, test.text); e.Msg != test.event {
			t.Errorf("unexpected event: %s", e.Line)
		}
		at = s.WaitFor(t, at, "reloading", func(message string) bool {
			var usec uint64
			_, err := fmt.Sscanf(message, "RELOADING=1\nMONOTONIC_USEC=%d", &usec)
			return err == nil && usec > 0
		})
		at = s.WaitFor(t, at, "ready again", says("READY=1"))
		if test.status != "" && test.event == systest.NotReloaded {
			at = s.WaitFor(t, before, "the status", says(test.status))
		}
	}
	other := systest.Options{Env: []string{s.Env()}}.Start(t) // has nothing to reload
	at = s.WaitFor(t, at, "ready", says("READY=1"))
	other.Signal(t, syscall.SIGHUP)
	at = s.WaitFor(t, at, "reloading", says("RELOADING=1"))
	s.WaitFor(t, at, "ready again", says("READY=1"))
}

// Listeners outlive the master where the manager stores them, and those that
// connect between two masters are served by the second.
func TestStore(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	path := filepath.Join(systest.Dir(t), "s")
	tcp := freeAddress(t)
	args := []string{"--listen", tcp, "--listen", "unix:" + path, "--listen", "127.0.0.1:0", "--listen", "unix:@" + path}
	m := systest.Options{Env: []string{s.Env()}, Args: args}.Start(t)
	s.WaitFor(t, 0, "ready", says("READY=1"))
	if n := s.Stores(); n != 4 {
		t.Fatalf("%d sockets are stored: %q", n, s.Messages())
	}
	dynamic := m.Listeners[2].Address
	m.Stop(t)
	var waiting []net.Conn
	for _, at := range [][2]string{{"tcp", tcp}, {"unix", path}, {"tcp", dynamic}, {"unix", "@" + path}} {
		conn, err := net.Dial(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		waiting = append(waiting, conn)
	}
	said := len(s.Messages())
	m = systest.Options{Env: []string{s.Env()}, Args: args, Passed: s.Stored(t)}.Start(t)
	for _, e := range m.Events(systest.Is(systest.Listening)) {
		if e.From != "stored" {
			t.Errorf("unexpected event: %s", e.Line)
		}
	}
	var clients []*systest.Client
	for _, conn := range waiting {
		c := m.Wrap(conn)
		c.Echo(t, "hello\n")
		clients = append(clients, c)
	}
	endAll(t, m, clients)
	m.WaitIdle(t)
	m.Stop(t)
	for _, message := range s.Messages()[said:] {
		if says("FDSTORE")(message) {
			t.Errorf("said %q of what is stored already", message)
		}
	}

	// What the configuration does not want any more is dropped; so is what was
	// bound with other options, before it is bound anew.
	said = len(s.Messages())
	m = systest.Options{Env: []string{s.Env()}, Args: []string{"--listen", tcp, "--reuse-port"}, Passed: s.Stored(t)}.Start(t)
	at := s.WaitFor(t, said, "the removal", says("FDSTOREREMOVE=1\nFDNAME=stored."+strings.ReplaceAll(tcp, ":", "%3A")))
	at = s.WaitFor(t, at, "a barrier", says("BARRIER=1"))
	s.WaitFor(t, at, "the new one", says("FDSTORE=1\n"))
	systest.Until(t, "one socket is stored", func() bool { return s.Stores() == 1 }, nil)
	if n := len(m.Events(systest.Is("stored socket dropped"))); n != 4 {
		t.Errorf("%d sockets were dropped, want 4", n)
	}
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	if conn, err := net.Dial("tcp", dynamic); err == nil {
		conn.Close()
		t.Error("a dropped socket listens")
	}
}

// A reload stores what it opens and takes back what it closes.
func TestStoreFollowsReloads(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	path := filepath.Join(systest.Dir(t), "s")
	one := "[service.echo]\nlisten = [\"127.0.0.1:0\"]\nhandler = \"echo\"\n"
	two := one + "[service.cat]\nlisten = [\"unix:" + path + "\"]\nprogram = [\"cat\"]\n"
	m := systest.Options{Env: []string{s.Env()}, Config: one}.Start(t)
	at := s.WaitFor(t, 0, "ready", says("READY=1"))
	m.Reload(t, two)
	at = s.WaitFor(t, at, "the second", says("FDSTORE=1\nFDPOLL=0\nFDNAME=stored.unix%3A"+path))
	m.Reload(t, one)
	s.WaitFor(t, at, "its removal", says("FDSTOREREMOVE=1\nFDNAME=stored.unix%3A"+path))
	systest.Until(t, "one socket is stored", func() bool { return s.Stores() == 1 }, nil)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the file of a socket that is gone: %v", err)
	}
}

// A stored unix socket whose file is gone is of no use, and one is bound anew.
// Where the manager has not kept the socket, its file goes with the master.
func TestStoredUnixSocketWithoutFile(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	path := filepath.Join(systest.Dir(t), "s")
	args := []string{"--listen", "unix:" + path}
	m := systest.Options{Env: []string{s.Env()}, Args: args}.Start(t)
	s.WaitFor(t, 0, "ready", says("READY=1"))
	m.Stop(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m = systest.Options{Env: []string{s.Env()}, Args: args, Passed: s.Stored(t)}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	m.WaitIdle(t)
	m.Stop(t)

	s = systest.NewSupervisor(t)
	s.StoreNothing()
	other := filepath.Join(systest.Dir(t), "s")
	m = systest.Options{Env: []string{s.Env()}, Args: []string{"--listen", "unix:" + other}}.Start(t)
	s.WaitFor(t, 0, "ready", says("READY=1"))
	m.Stop(t)
	if _, err := os.Lstat(other); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

// A manager that does not read holds nothing up.
func TestDeafManager(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m := systest.Options{Env: []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=4000"}}.Start(t)
	for range 20 {
		c := m.Dial(t)
		c.Echo(t, "hello\n")
		c.Close()
	}
	m.WaitIdle(t)
	m.Stop(t)
	gone := systest.Options{Env: []string{"NOTIFY_SOCKET=" + path + ".gone"}}.Start(t)
	if e := gone.WaitFor(t, systest.Is("service manager")); !strings.Contains(e.Error, "tell the service manager: ") {
		t.Errorf("unexpected event: %s", e.Line)
	}
	c := gone.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
}

// freeAddress returns an address of 127.0.0.0/8 that nobody else uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

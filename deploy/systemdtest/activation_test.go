package systemdtest

import (
	"context"
	"strings"
	"testing"
)

// The service starts when somebody connects, and serves him.
func TestActivation(t *testing.T) {
	s := setup(t, cat, nil)
	s.systemctl(t, "start", socketUnit)
	if got := s.show(t, "ActiveState"); got != "inactive" {
		t.Fatalf("the service is %s before anybody has come", got)
	}
	first := s.dial(t)
	first.echo(t, "first")
	first.Close()
	s.is(t, "ActiveState", "active")
	second := s.dial(t)
	second.echo(t, "second")
	second.Close()

	// systemd keeps the socket when the service stops, and whoever comes then
	// starts it again.
	s.systemctl(t, "stop", unit)
	s.dial(t).echo(t, "third")
	s.is(t, "ActiveState", "active")
}

// The name of a socket picks the service; the service's own addresses are not
// listened at. A socket of a unix path is one as any other.
func TestActivationByName(t *testing.T) {
	s := setup(t, `
[service.echo]
listen  = ["127.0.0.1:7001"]
program = ["/bin/cat"]

[service.greet]
listen  = ["127.0.0.1:7002"]
program = ["/bin/echo", "good day"]
`, map[string]string{socketUnit: `[Socket]
FileDescriptorName=greet
ListenStream=[::1]:7007
ListenStream=/run/preforkd/greet.sock
`})
	s.systemctl(t, "start", socketUnit)
	for _, target := range [][2]string{{"tcp", address}, {"tcp", "[::1]:7007"}, {"unix", "/run/preforkd/greet.sock"}} {
		if got := s.dialTo(t, target[0], target[1]).rest(t); got != "good day\n" {
			t.Errorf("%s answers %q", target[1], got)
		}
	}
	// The other service has no socket of systemd's, and listens by itself.
	c := s.dialTo(t, "tcp", "127.0.0.1:7001")
	c.echo(t, "hello")
	c.Close()
	if _, err := dial(t.Context(), s.Machine, "tcp", "127.0.0.1:7002"); err == nil {
		t.Error("the service that got sockets listens at its own address, too")
	}
	// What is systemd's stays when the service stops, paths included.
	s.systemctl(t, "stop", unit)
	if got := s.dialTo(t, "unix", "/run/preforkd/greet.sock").rest(t); got != "good day\n" {
		t.Errorf("after a stop it answers %q", got)
	}
}

// Without a name a socket goes to the only service.
func TestActivationWithoutName(t *testing.T) {
	s := setup(t, cat, map[string]string{socketUnit: "[Socket]\nFileDescriptorName=\n"})
	s.systemctl(t, "start", socketUnit)
	if got := s.showOf(t, socketUnit, "FileDescriptorName"); got != socketUnit {
		t.Fatalf("the name is %q", got)
	}
	s.dial(t).echo(t, "hello")
}

// A name that is no service's is an error that has both.
func TestActivationByUnknownName(t *testing.T) {
	s := setup(t, cat, map[string]string{socketUnit: "[Socket]\nFileDescriptorName=ecco\n"})
	s.systemctl(t, "start", socketUnit)
	if _, err := s.try(t, "systemctl", "start", unit); err == nil {
		t.Error("the start succeeded")
	}
	if got := s.show(t, "ExecMainStatus"); got != "2" {
		t.Errorf("the exit status is %s, want 2", got)
	}
	e := s.await(t, "_SYSTEMD_UNIT="+unit, `"ecco"`, "echo")
	t.Log(e["MESSAGE"])
}

// Without a name, and with two services, nobody knows.
func TestActivationWithoutNameOfTwo(t *testing.T) {
	s := setup(t, cat+"\n[service.other]\nlisten = [\"127.0.0.1:7008\"]\nprogram = [\"/bin/cat\"]\n",
		map[string]string{socketUnit: "[Socket]\nFileDescriptorName=\n"})
	s.systemctl(t, "start", socketUnit)
	if _, err := s.try(t, "systemctl", "start", unit); err == nil {
		t.Error("the start succeeded")
	}
	e := s.await(t, "_SYSTEMD_UNIT="+unit, "FileDescriptorName")
	t.Log(e["MESSAGE"])
}

// While the configuration is wrong and a client waits, systemd tries again
// without ever giving up; the client is served in the end.
func TestActivationRecovers(t *testing.T) {
	s := setup(t, "[service.echo]\nlisten = 7\n", nil)
	s.systemctl(t, "start", socketUnit)
	c := s.dial(t)
	until(t, "the start has failed several times", func() bool {
		return len(s.journal(t, "_PID=1", "UNIT="+unit, "EXIT_STATUS=2")) >= 3
	}, nil)
	s.configure(t, cat)
	c.echo(t, "patience")
	s.is(t, "ActiveState", "active")
	if got := s.showOf(t, socketUnit, "ActiveState"); got != "active" {
		t.Errorf("the socket is %s", got)
	}
}

// A unit with Accept=yes passes connections, which preforkd does not take; it
// says what to change.
func TestAcceptYes(t *testing.T) {
	s := setup(t, cat, nil)
	s.write(t, "/run/systemd/system/accepting.socket", "[Socket]\nListenStream=127.0.0.1:7009\nAccept=yes\n")
	s.write(t, "/run/systemd/system/accepting@.service", `[Service]
Type=notify
User=preforkd
ExecStart=/usr/local/bin/preforkd serve --config /etc/preforkd/preforkd.toml
`)
	s.systemctl(t, "daemon-reload")
	s.systemctl(t, "start", "accepting.socket")
	t.Cleanup(func() { s.Run(context.Background(), "systemctl", "stop", "accepting.socket") })
	if got := s.dialTo(t, "tcp", "127.0.0.1:7009").rest(t); got != "" {
		t.Errorf("the client was told %q", got)
	}
	e := s.await(t, "SYSLOG_IDENTIFIER=preforkd", "Accept=")
	t.Log(e["MESSAGE"])
	if !strings.HasPrefix(e["_SYSTEMD_UNIT"], "accepting@") {
		t.Errorf("the entry belongs to %q", e["_SYSTEMD_UNIT"])
	}
	s.await(t, "_PID=1", "status=2")
}

// For those without units there is systemd-socket-activate(1).
func TestSocketActivate(t *testing.T) {
	s := setup(t, cat, nil)
	s.run(t, "systemd-run", "--quiet", "--collect", "--unit=activated.service",
		"systemd-socket-activate", "--listen=127.0.0.1:7009", "/usr/local/bin/preforkd", "serve", "--", "/bin/cat")
	t.Cleanup(func() { s.Run(context.Background(), "systemctl", "stop", "activated.service") })
	var c client
	until(t, "systemd-socket-activate listens", func() bool {
		var err error
		c, err = dial(t.Context(), s.Machine, "tcp", "127.0.0.1:7009")
		return err == nil
	}, nil)
	c.echo(t, "hello")
	c.Close()
	s.systemctl(t, "stop", "activated.service")
	// It hands on little of the environment, not what tells of the journal.
	s.await(t, "_SYSTEMD_UNIT=activated.service", `"msg":"stopped","accepted":1`)
}

package systemdtest

import (
	"fmt"
	"strings"
	"testing"
)

// reload reloads the service, which must succeed. systemctl waits until the
// master has read its configuration.
func (s *service) reload(t *testing.T) {
	t.Helper()
	before := s.reloads(t)
	s.systemctl(t, "reload", unit)
	until(t, "the journal tells of the reload", func() bool { return s.reloads(t) > before }, nil)
	s.is(t, "ActiveState", "active")
}

// reloadFails reloads the service with a bad file. systemctl says that it fails,
// and the service goes on.
func (s *service) reloadFails(t *testing.T) {
	t.Helper()
	if out, err := s.try(t, "systemctl", "reload", unit); err == nil {
		t.Errorf("systemctl does not tell of the mistake: %s", out)
	}
	s.is(t, "ActiveState", "active")
}

// reloads counts the reloads so far.
func (s *service) reloads(t *testing.T) int {
	t.Helper()
	return len(s.journal(t, "PREFORKD_EVENT=reloaded"))
}

// A reload changes what is served, without another master, and systemd knows
// from the first moment to the last.
func TestReload(t *testing.T) {
	s := setup(t, cat, nil)
	s.notifications(t)
	s.start(t)
	master := s.mainPID(t)
	old := s.dial(t)
	old.echo(t, "before")
	s.configure(t, cat+"\n[service.greet]\nlisten = [\"127.0.0.1:7008\"]\nprogram = [\"/bin/echo\", \"good day\"]\n")
	s.reload(t)
	if got := s.dialTo(t, "tcp", "127.0.0.1:7008").rest(t); got != "good day\n" {
		t.Errorf("the new service answers %q", got)
	}
	old.echo(t, "after")
	if s.mainPID(t) != master {
		t.Error("it is another master")
	}
	s.notified(t, "READY=1", "RELOADING=1 MONOTONIC_USEC=", "READY=1")
}

// A bad file changes nothing, says why, and does not leave systemd waiting.
func TestReloadOfBadConfiguration(t *testing.T) {
	s := setup(t, cat, nil)
	s.notifications(t)
	s.start(t)
	s.configure(t, "[service.echo]\nlisten = [\"127.0.0.1:7008\"]\nmax-conections = 5\n")
	s.reloadFails(t)
	s.await(t, "SYSLOG_IDENTIFIER=preforkd", configFile+":3:1")
	s.await(t, "PREFORKD_EVENT=not reloaded", configFile+":3:1")
	s.dial(t).echo(t, "hello")
	s.notified(t, "READY=1", "RELOADING=1 MONOTONIC_USEC=", "READY=1")
}

// A reload needs no program that a bare machine lacks, and the service need not
// have its control socket, or its runtime directory, where the unit has it.
func TestReloadAnywhere(t *testing.T) {
	const bare = "[Service]\nInaccessiblePaths=-/bin/kill -/usr/bin/kill\n"
	for name, c := range map[string]struct{ config, dropIn string }{
		"as installed":                {"", ""},
		"another runtime directory":   {"", "RuntimeDirectory=\nRuntimeDirectory=elsewhere\n"},
		"control socket of its own":   {"[master]\ncontrol = \"/run/preforkd/own.sock\"\n", ""},
		"without control socket":      {"[master]\ncontrol = \"none\"\n", ""},
		"without a runtime directory": {"[master]\ncontrol = \"/tmp/control.sock\"\n", "RuntimeDirectory=\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t, c.config+cat, map[string]string{unit: bare + c.dropIn})
			s.start(t)
			master := s.mainPID(t)
			s.configure(t, c.config+strings.ReplaceAll(cat, "7007", "7008"))
			s.reload(t)
			s.dialTo(t, "tcp", "127.0.0.1:7008").echo(t, "hello")
			if s.mainPID(t) != master {
				t.Error("it is another master")
			}
		})
	}
}

// Where systemd has it, systemctl waits by itself.
func TestNotifyReload(t *testing.T) {
	s := setup(t, cat, nil)
	var version int
	// "systemd 252 (252.39-1~deb12u2)"
	if _, err := fmt.Sscanf(s.run(t, "systemctl", "--version"), "systemd %d", &version); err != nil {
		t.Fatal(err)
	}
	if version < 253 {
		t.Logf("systemd is %d, and Type=notify-reload of 253", version)
		return
	}
	s.write(t, "/run/systemd/system/preforkd.service.d/test.conf", dropIn(t, "notify-reload.conf"))
	s.systemctl(t, "daemon-reload")
	s.start(t)
	s.configure(t, strings.ReplaceAll(cat, "7007", "7008"))
	s.systemctl(t, "reload", unit)
	s.dialTo(t, "tcp", "127.0.0.1:7008").echo(t, "hello")
}

package rig

import (
	"fmt"
	"strings"
	"testing"
)

// reload reloads the service and waits until the master has said what became
// of it: with ExecReload=kill systemctl does not wait for that.
func (s *service) reload(t *testing.T) {
	t.Helper()
	count := func() int {
		return len(s.journal(t, "PREFORKD_EVENT=reloaded", "PREFORKD_EVENT=not reloaded"))
	}
	before := count()
	s.systemctl(t, "reload", unit)
	until(t, "the master has read its configuration", func() bool { return count() > before }, nil)
	s.is(t, "ActiveState", "active")
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
	s.reload(t)
	s.await(t, "PREFORKD_EVENT=not reloaded", configFile+":3:1")
	s.dial(t).echo(t, "hello")
	s.notified(t, "READY=1", "RELOADING=1 MONOTONIC_USEC=", "READY=1")
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

package systemdtest

import (
	"regexp"
	"strings"
	"testing"
)

// Ready means ready: whoever connects when systemctl returns is served. The
// status has the numbers of now.
func TestStart(t *testing.T) {
	s := setup(t, `
[service.echo]
listen  = ["127.0.0.1:7007", "unix:/run/preforkd/echo.sock"]
program = ["/bin/cat"]
deny    = ["unix"]
`, nil)
	s.start(t)
	a, b := s.dial(t), s.dial(t)
	a.echo(t, "one")
	b.echo(t, "two")
	if got := s.show(t, "ActiveState"); got != "active" {
		t.Errorf("the service is %s", got)
	}
	s.status(t, `^serving: 2 connections live, 2 spawned, 0 refused$`)
	s.dialTo(t, "unix", "/run/preforkd/echo.sock").rest(t)
	s.status(t, `^serving: 2 connections live, 2 spawned, 1 refused$`)
	a.Close()
	s.status(t, `^serving: 1 connections? live, 2 spawned, 1 refused$`)
}

// status waits for a status of the service.
func (s *service) status(t *testing.T, want string) {
	t.Helper()
	pattern := regexp.MustCompile(want)
	var got string
	until(t, "the status matches "+want, func() bool {
		got = s.show(t, "StatusText")
		return pattern.MatchString(got)
	}, func() string { return got })
}

// A configuration that is wrong fails the start, with the status that says so
// and the line that says why.
func TestStartWithBadConfiguration(t *testing.T) {
	s := setup(t, "[service.echo]\nlisten = [\"127.0.0.1:7007\"]\nmax-conections = 5\n", nil)
	if _, err := s.try(t, "systemctl", "start", unit); err == nil {
		t.Error("the start succeeded")
	}
	if got := s.show(t, "ExecMainStatus"); got != "2" {
		t.Errorf("the exit status is %s, want 2", got)
	}
	s.await(t, "_SYSTEMD_UNIT="+unit, configFile+":3:1", `did you mean "max-connections"?`)

	// It is tried again: nothing has to be done but what was wrong.
	s.configure(t, cat)
	s.is(t, "ActiveState", "active")
	s.dial(t).echo(t, "hello")
}

// Everything listens, but workers cannot start: that is not ready.
func TestStartWithoutWorkers(t *testing.T) {
	s := setup(t, `
[master]
worker-binary = "/bin/false"

[service.echo]
listen  = ["127.0.0.1:7007"]
handler = "echo"
`, map[string]string{unit: "[Service]\nTimeoutStartSec=20s\n"})
	_, err := s.try(t, "systemctl", "start", unit)
	if err == nil {
		t.Error("the start succeeded")
	}
	for _, e := range s.journal(t, "_PID=1", "UNIT="+unit) {
		if strings.HasPrefix(e["MESSAGE"], "Started ") {
			t.Errorf("systemd has been told that it is ready: %s", e["MESSAGE"])
		}
	}
	if entries := s.journal(t, "_SYSTEMD_UNIT="+unit, "PRIORITY=3"); len(entries) == 0 {
		t.Error("the journal does not say why")
	} else {
		t.Log(entries[0]["MESSAGE"])
	}
}

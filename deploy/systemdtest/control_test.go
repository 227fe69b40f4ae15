package systemdtest

import (
	"strings"
	"syscall"
	"testing"
)

// The command finds the service's control socket without being told where, also
// after a master that was killed has left it behind.
func TestControl(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	c := s.dial(t)
	c.echo(t, "hello")
	status := func() string { return s.run(t, "preforkd", "status") }
	if got := status(); !strings.Contains(got, c.LocalAddr().String()) {
		t.Errorf("the status says nothing of the connection:\n%s", got)
	}
	kill(t, s.mainPID(t), syscall.SIGKILL)
	s.is(t, "NRestarts", "1")
	s.is(t, "ActiveState", "active")
	status()

	s.configure(t, strings.ReplaceAll(cat, "7007", "7008"))
	s.run(t, "preforkd", "reload")
	s.once(t, "127.0.0.1:7008")
	s.refused(t, address)
	s.run(t, "preforkd", "drain")
	s.is(t, "ActiveState", "inactive")
}

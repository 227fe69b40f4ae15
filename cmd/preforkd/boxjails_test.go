package main

import (
	"os"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Examples that others document behave as they do there.
func TestBoxExampleNsjail(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	root := busyboxRoot(t, "dev", "proc", "sys")
	e := boxExample{file: "nsjail.toml", replace: []string{`"/chroot"`, `"` + root + `"`}}
	text, listeners := e.text(t)
	m := e.start(t, text, listeners)
	got := answerOf(t, m, "shell", "busybox ifconfig -a; busybox id; busybox ps; ulimit -n; echo >/bin/new || echo kept\nexit\n")
	for _, want := range []string{"lo        Link encap:Local Loopback", "uid=99999 gid=99999\n", "99999    /bin/sh -i\n", "\n32\n", "kept\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the shell does not say %q: %s", want, got)
		}
	}
	if strings.Contains(got, "eth0") || strings.Contains(got, "preforkd") {
		t.Errorf("the shell sees too much: %s", got)
	}
	if got := answerOf(t, m, "constrained", "id\necho on\nexit\n"); !strings.Contains(got, "Bad system call") || !strings.Contains(got, "on\n") {
		t.Errorf("the constrained shell says %s", got)
	}
}

func TestBoxExampleSystemd(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	if _, err := os.Stat("/var/lib/systemd"); err != nil {
		systest.Skip(t, "needs /var/lib/systemd")
	}
	e := boxExample{file: "systemd.toml"}
	text, listeners := e.text(t)
	m := e.start(t, text, listeners)
	if got := answerOf(t, m, "var", ""); got != "/var\n/var/lib\n/var/lib/systemd\n" {
		t.Errorf("/var is %s", got)
	}
	if got := answerOf(t, m, "paths", ""); got != "/var\n/run\n" {
		t.Errorf("can be written to: %s", got)
	}
	got := answerOf(t, m, "portable", "")
	for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapBnd:\t0000000000000000\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// answerOf sends a text to a service and returns the answer.
func answerOf(t *testing.T, m *systest.Master, service, request string) string {
	t.Helper()
	l := listenerOf(t, m, service)
	c := m.DialTo(t, l.Network, l.Address)
	c.Send(t, request)
	c.CloseWrite(t)
	return c.ExpectEnd(t)
}

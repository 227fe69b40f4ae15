package systemdtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestVerify(t *testing.T) {
	s := setup(t, cat, nil)
	cmd := s.Command(t.Context(), "systemd-analyze", "verify", "--man=no", unit, socketUnit)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v", err)
	}
	// It also looks at what the units depend on.
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "preforkd") {
			t.Error(line)
		}
	}
}

// maxExposure is ten times the figure of "systemd-analyze security", as its
// --threshold takes it. What keeps it from being lower are things that a
// program that serves connections may well do.
const maxExposure = "17"

func TestExposure(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	out, err := s.try(t, "systemd-analyze", "security", "--no-pager", "--threshold="+maxExposure, unit)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	t.Log(lines[len(lines)-1])
}

// What is installed makes the user and the directory at boot.
func TestUserAndDirectory(t *testing.T) {
	s := setup(t, cat, nil)
	if got := s.run(t, "stat", "--format=%U %G %a", "/run/preforkd"); got != "preforkd preforkd 755\n" {
		t.Errorf("the directory is %q", got)
	}
	if got := s.run(t, "getent", "passwd", "preforkd"); !strings.Contains(got, ":/usr/sbin/nologin\n") {
		t.Errorf("the user is %q", got)
	}
	s.start(t)
	s.systemctl(t, "stop", unit)
	if got := s.run(t, "stat", "--format=%U %G %a", "/run/preforkd"); got != "preforkd preforkd 755\n" {
		t.Errorf("after a stop, the directory is %q", got)
	}
}

// The configuration that is installed is one that serves as it is.
func TestExample(t *testing.T) {
	example, err := os.ReadFile("../preforkd.toml")
	if err != nil {
		t.Fatal(err)
	}
	s := setup(t, string(example), nil)
	s.start(t)
	s.dial(t).echo(t, "hello")
	if got := s.dialTo(t, "tcp", "127.0.0.1:7013").rest(t); !strings.Contains(got, "20") {
		t.Errorf("the date is %q", got)
	}
}

// A built-in worker is confined in spite of all that the unit has taken away.
func TestConfinement(t *testing.T) {
	s := setup(t, "[service.echo]\nlisten = [\"127.0.0.1:7007\"]\nhandler = \"echo\"\n", nil)
	s.start(t)
	c := s.dial(t)
	c.echo(t, "hello")
	status := s.workerStatus(t, s.onlyWorker(t))
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("the worker is without %q:\n%s", want, status)
		}
	}
	// The unit has a filter of its own. What the worker could not do it tells
	// at its end.
	c.Close()
	s.await(t, "PREFORKD_EVENT=reaped")
	if warnings := s.journal(t, "_SYSTEMD_UNIT="+unit, "PRIORITY=4"); len(warnings) != 0 {
		t.Errorf("there are warnings: %v", warnings)
	}
}

// dropIn returns the text of an example that is installed.
func dropIn(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "drop-in", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A port below 1024 needs the drop-in. The right to it is the master's alone.
func TestPrivilegedPorts(t *testing.T) {
	s := setup(t, `
[service.echo]
listen  = ["127.0.0.1:7"]
program = ["/bin/cat"]
`, map[string]string{unit: dropIn(t, "privileged-ports.conf")})
	s.start(t)
	s.dialTo(t, "tcp", "127.0.0.1:7").echo(t, "hello")
	s.withoutCapabilities(t)
}

// Workers of another user, and the socket of a third, need the drop-in.
func TestUsers(t *testing.T) {
	s := setup(t, `
[service.echo]
listen       = ["127.0.0.1:7007", "unix:/run/preforkd/echo.sock"]
program      = ["/bin/sh", "-c", "id -un; umask; cat"]
user         = "nobody"
umask        = "027"
socket-owner = "daemon"
`, map[string]string{unit: dropIn(t, "users.conf") + "Restart=no\n"})
	s.start(t)
	c := s.dial(t)
	c.expect(t, "nobody\n0027\n")
	c.echo(t, "hello")
	s.withoutCapabilities(t)
	if got := s.run(t, "stat", "--format=%U", "/run/preforkd/echo.sock"); got != "daemon\n" {
		t.Errorf("the socket belongs to %q", got)
	}
	// They can be ended, too.
	s.systemctl(t, "kill", "--kill-whom=main", "--signal=SIGQUIT", unit)
	s.is(t, "ActiveState", "inactive")

	// What a master that was killed has left of the socket is no obstacle.
	s.start(t)
	kill(t, s.mainPID(t), syscall.SIGKILL)
	s.is(t, "ActiveState", "failed")
	s.run(t, "stat", "/run/preforkd/echo.sock")
	s.start(t)
	s.dialTo(t, "unix", "/run/preforkd/echo.sock").expect(t, "nobody\n")
}

// The drop-in for boxes is also for a systemd that does not know every line of it, and
// for machines whose control groups are not of version 2.
func TestBoxDropIn(t *testing.T) {
	s := setup(t, cat, map[string]string{unit: dropIn(t, "box.conf")})
	s.start(t)
	s.dial(t).echo(t, "hello")
	s.withoutCapabilities(t)
	s.systemctl(t, "reload", unit)
	s.once(t, address)
}

// withoutCapabilities checks that the only worker has no rights beyond its user's.
func (s *service) withoutCapabilities(t *testing.T) {
	t.Helper()
	status := s.workerStatus(t, s.onlyWorker(t))
	for _, set := range []string{"CapPrm", "CapEff", "CapAmb"} {
		if !strings.Contains(status, set+":\t0000000000000000\n") {
			t.Errorf("the worker has rights of the master's:\n%s", status)
			return
		}
	}
}

package systemdtest

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
)

const (
	unit       = "preforkd.service"
	socketUnit = "preforkd.socket"
	configFile = "/etc/preforkd/preforkd.toml"
	address    = "127.0.0.1:7007" // of preforkd.socket, and of the example
)

// The configuration of most tests: a program in the place of the built-in
// handler, which needs no confinement to end by the hundred.
const cat = `
[service.echo]
listen  = ["127.0.0.1:7007"]
program = ["/bin/cat"]
`

// A service is preforkd.service during one test.
type service struct {
	*nspawn.Machine
	since string // when the test began, as journalctl takes it
}

// setup configures preforkd.service for a test. dropIns are further settings of
// units by the unit's name. When the test ends everything is stopped and put
// back; when it has failed, its journal is shown.
func setup(t *testing.T, config string, dropIns map[string]string) *service {
	t.Helper()
	m := boot(t)
	now := time.Now()
	s := &service{m, fmt.Sprintf("--since=@%d.%06d", now.Unix(), now.Nanosecond()/1000)}
	s.configure(t, config)
	for name, text := range dropIns {
		s.write(t, path.Join("/run/systemd/system", name+".d", "test.conf"), text)
	}
	s.systemctl(t, "daemon-reload")
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := s.Run(context.Background(), "journalctl", "--no-pager", "--output=short-precise", s.since)
			t.Logf("the journal:\n%s", journal)
		}
		s.cleanup(t, dropIns)
	})
	return s
}

func (s *service) cleanup(t *testing.T, dropIns map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline())
	defer cancel()
	// Connections that the test has left are not waited for.
	s.Run(ctx, "systemctl", "kill", "--kill-whom=main", "--signal=SIGQUIT", unit)
	if _, err := s.Run(ctx, "systemctl", "stop", socketUnit, unit); err != nil {
		t.Error(err)
	}
	s.Run(ctx, "systemctl", "reset-failed", socketUnit, unit) // an error when neither is
	// A stopped master leaves the files of stored sockets, for the next one.
	if _, err := s.Run(ctx, "find", "/run/preforkd", "-type", "s", "-delete"); err != nil {
		t.Error(err)
	}
	for name := range dropIns {
		if err := os.RemoveAll(s.Path(path.Join("/run/systemd/system", name+".d"))); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Run(ctx, "systemctl", "daemon-reload"); err != nil {
		t.Error(err)
	}
}

// try runs a command in the machine and returns what it prints.
func (s *service) try(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline())
	defer cancel()
	return s.Run(ctx, name, args...)
}

// run is try for commands that must succeed.
func (s *service) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := s.try(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *service) systemctl(t *testing.T, args ...string) {
	t.Helper()
	s.run(t, "systemctl", args...)
}

// start starts the service, which returns when it is ready.
func (s *service) start(t *testing.T) {
	t.Helper()
	s.systemctl(t, "start", unit)
}

// write writes a file of the machine's.
func (s *service) write(t *testing.T, name, text string) {
	t.Helper()
	name = s.Path(name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *service) configure(t *testing.T, config string) {
	t.Helper()
	s.write(t, configFile, config)
}

// show returns a property of the service.
func (s *service) show(t *testing.T, property string) string {
	t.Helper()
	return s.showOf(t, unit, property)
}

func (s *service) showOf(t *testing.T, unit, property string) string {
	t.Helper()
	return strings.TrimSpace(s.run(t, "systemctl", "show", "--value", "--property="+property, unit))
}

// showNumber returns a property that is a number other than 0.
func (s *service) showNumber(t *testing.T, unit, property string) int {
	t.Helper()
	text := s.showOf(t, unit, property)
	n, err := strconv.Atoi(text)
	if err != nil || n == 0 {
		t.Fatalf("%s has %s=%s", unit, property, text)
	}
	return n
}

// is waits until a property of the service has a value.
func (s *service) is(t *testing.T, property, want string) {
	t.Helper()
	s.isOf(t, unit, property, want)
}

func (s *service) isOf(t *testing.T, unit, property, want string) {
	t.Helper()
	var got string
	until(t, unit+" has "+property+"="+want, func() bool {
		got = s.showOf(t, unit, property)
		return got == want
	}, func() string { return got })
}

// mainPID returns the pid of the master, as this process knows it.
func (s *service) mainPID(t *testing.T) int {
	t.Helper()
	inside := s.showNumber(t, unit, "MainPID")
	pid := s.PID(inside)
	if pid == 0 {
		t.Fatalf("there is no process %d in the machine", inside)
	}
	return pid
}

// until polls a state that has no event of its own. describe, which may be
// nil, says what was instead.
func until(t *testing.T, what string, holds func() bool, describe func() string) {
	t.Helper()
	for end := time.Now().Add(deadline()); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			state := ""
			if describe != nil {
				state = ": " + describe()
			}
			t.Fatalf("after %v it is not so that %s%s", deadline(), what, state)
		}
	}
}

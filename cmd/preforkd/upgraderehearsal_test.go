package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/upgrade"
)

// plainMaster starts a master with a live connection and a spare, and returns what it is.
func plainMaster(t *testing.T, here installation) (*systest.Master, *systest.Client, snapshot) {
	t.Helper()
	m := systest.Options{Program: here.preforkd(), Config: single(catting, "spares = 1")}.Start(t)
	m.Spares = 1
	m.WaitSpares(t, 1)
	m.Baseline(t)
	live := m.Dial(t)
	live.Echo(t, "hello")
	m.WaitSpares(t, 1)
	return m, live, takeSnapshot(m)
}

// stillServes holds that a master serves on: who was there, and who comes.
func stillServes(t *testing.T, m *systest.Master, live *systest.Client) {
	t.Helper()
	live.Echo(t, "still here")
	newcomer(t, m).End(t)
	m.WaitSpares(t, 1)
}

// newcomer returns a client that has come, was served, and has gone.
func newcomer(t *testing.T, m *systest.Master) *systest.Client {
	t.Helper()
	c := m.Dial(t)
	c.Echo(t, "new here")
	c.CloseWrite(t)
	c.ExpectEnd(t)
	return c
}

// What cannot take over is found out before: the old program goes on, says why, and
// nothing has changed.
func TestUpgradeToNonsense(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	bad := func(name string) string {
		path := filepath.Join(dir, name)
		systest.CopyProgram(t, systest.Program(t, "cmd/internal/systest/badsuccessor"), path)
		return path
	}
	plain := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, reason string }{
		{"missing", filepath.Join(dir, "nothing"), "no such file or directory"},
		{"a directory", dir, "must be a regular file"},
		{"a FIFO", fifo, "must be a regular file"},
		{"not executable", plain("notes", "not for execution", 0o644), "permission denied"},
		{"no program", plain("garbage", "no program", 0o755), "exec format error"},
		{"empty", plain("empty", "", 0o755), "exec format error"},
		{"another program", bad("other"), `it is no preforkd that can take over: it says "hello\n"`},
		{"a program that ends", bad("ends"), "it has ended without an answer"},
		{"a program that says why", bad("tells"), "it has ended without an answer: unknown flag"},
		{"a program that crashes", bad("crashes"), "it has ended without an answer"},
		{"a program that crashes later", bad("crashes-later"), "it has ended without an answer"},
		{"another format", bad("format"), "it reads format 1000 of the state"},
		{"no format", bad("formats"), "it reads format none of the state"},
		{"one that refuses", bad("refuses"), "restore: it is Sunday"},
		{"endless", bad("endless"), "bytes in one line"},
		{"silent", bad("silent"), "it has said nothing for " + upgrade.Timeout.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, live, before := plainMaster(t, install(t, versionOne))
			refusesUpgrade(t, m, c.reason, "--binary", c.path)
			unchanged(t, m, before)
			stillServes(t, m, live)
			// A trial says the same.
			if r := ran(t, m, "upgrade", "--check", "--binary", c.path); r.Code != 1 || !strings.Contains(r.Stderr, c.reason) {
				t.Errorf("--check: %+v", r)
			}
			live.Close()
		})
	}
}

// A file that the rehearsal finds wrong is told with its line, and a right one is in
// force with the new program, in one step.
func TestUpgradeWithConfiguration(t *testing.T) {
	t.Parallel()
	here := install(t, versionOne)
	m, live, before := plainMaster(t, here)
	here.replace(t, versionTwo)
	good, err := os.ReadFile(m.Config)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(systest.Dir(t), "other.toml")
	for text, reason := range map[string]string{
		single(catting, "spares = 1", "max-conections = 5"): ":5:1: service.one: unknown key",
		single(`program = ["/nowhere/program"]`):            "/nowhere/program",
		"":                                                  "there is no service",
	} {
		for _, path := range []string{m.Config, other} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			args := []string{"--config", path}
			if path == m.Config {
				args = nil
			}
			o := upgradeMaster(t, m, args...)
			if o.result.Code != 1 || !strings.Contains(o.result.Stderr, reason) || o.event.Msg != notUpgraded || !strings.Contains(o.event.Line, "config") {
				t.Errorf("want %q: exit code %d, %s\n%s", reason, o.result.Code, o.result.Stderr, o.event.Line)
			}
			unchanged(t, m, before)
		}
	}
	stillServes(t, m, live)

	m.WriteConfig(t, string(good))
	if err := os.WriteFile(other, []byte(single(catting, "spares = 1", "max-connections = 7")), 0o644); err != nil {
		t.Fatal(err)
	}
	if o := upgradeMaster(t, m, "--config", other); o.result.Code != 0 {
		t.Fatalf("%+v", o)
	}
	s := looked(t, m)
	if s.Master.Version != versionTwo || s.Master.Config != other || s.Services[0].Limit != 7 {
		t.Errorf("%+v\n%+v", s.Master, s.Services[0])
	}
	stillServes(t, m, live)
	live.Close()
}

// What the configuration in force names may have gone. The process could not be given back
// then, so the old program goes on before anything has happened.
func TestUpgradeWithoutAWayBack(t *testing.T) {
	t.Parallel()
	here := install(t, versionOne)
	program := filepath.Join(systest.Dir(t), "cat")
	systest.CopyProgram(t, systest.Need(t, "cat"), program)
	m := systest.Options{Program: here.preforkd(), Config: single(fmt.Sprintf("program = [%q]", program))}.Start(t)
	live := m.Dial(t)
	live.Echo(t, "hello")
	before := takeSnapshot(m)
	if err := os.Rename(program, program+".new"); err != nil {
		t.Fatal(err)
	}
	here.replace(t, versionTwo)
	other := filepath.Join(systest.Dir(t), "other.toml")
	if err := os.WriteFile(other, []byte(single(fmt.Sprintf("program = [%q]", program+".new"))), 0o644); err != nil {
		t.Fatal(err)
	}
	refusesUpgrade(t, m, "there would be no way back", "--config", other)
	unchanged(t, m, before)
	live.Echo(t, "still here")
	if err := os.Rename(program+".new", program); err != nil {
		t.Fatal(err)
	}
	upgradeTo(t, m, versionTwo, false)
	live.Echo(t, "still here")
	live.Close()
}

// A worker in a box may have the user of the master, and so talk to its control socket. It
// must not have the master execute a program that it names, nor read a configuration.
func TestUpgradeByAWorker(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for _, boxed := range []bool{true, false} {
		here := install(t, versionOne)
		box := []string{`preset = "none"`}
		if boxed {
			box = []string{`preset = "basic"`, "dynamic-user = false"}
		}
		lines := append([]string{`program = ["/bin/sh"]`, "[service.one.box]"}, box...)
		m := systest.Options{Program: here.preforkd(), Config: single(lines...)}.Start(t)
		for _, flag := range []string{"--binary", "--config"} {
			c := m.Dial(t)
			c.Send(t, fmt.Sprintf("%s upgrade --control %s --check %s /etc/hostname 2>&1\n", here.preforkd(), m.Control, flag))
			c.CloseWrite(t)
			said := c.ExpectEnd(t)
			if denied := strings.Contains(said, "must be allowed to do what the master may"); denied != boxed {
				t.Errorf("boxed %v, %s: %s", boxed, flag, said)
			}
		}
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// execKinds are the ways in which a program comes to its connection.
var execKinds = map[string]string{
	"stdio":           "handoff = \"stdio\"\n",
	"stdio, spares":   "handoff = \"stdio\"\nspares = 2\n",
	"systemd":         "handoff = \"systemd\"\n",
	"systemd, spares": "handoff = \"systemd\"\nspares = 2\n",
}

// execFaults are what happens to a program while its service runs.
var execFaults = map[string]struct {
	happens func(t *testing.T, path string)
	error   string // PATH stands for the program
	cause   string
}{
	"removed": {
		func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"fork/exec PATH: no such file or directory", "program-missing",
	},
	"interpreter gone": {
		func(t *testing.T, path string) { systest.WriteProgram(t, path, "#!/nonexistent/sh\n") },
		`start PATH: its interpreter "/nonexistent/sh": no such file or directory`, "program-missing",
	},
	"wrong architecture": {
		func(t *testing.T, path string) {
			systest.WriteProgram(t, path, "\x7fELF\x01\x02\x01 of another machine")
		},
		"fork/exec PATH: exec format error", "program-unusable",
	},
	"not executable": {
		func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) },
		"fork/exec PATH: permission denied", "program-unusable",
	},
	"a directory": {
		func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o755)) },
		"fork/exec PATH: permission denied", "program-unusable",
	},
	"open for writing": {
		func(t *testing.T, path string) {
			fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			must(t, err)
			t.Cleanup(func() { unix.Close(fd) })
		},
		"fork/exec PATH: text file busy", "program-unusable",
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A program that was there at the start and cannot be executed later is a failed
// spawn, whoever executes it: the master, a worker, or a spare that waited. The
// client, the log, the counts and the status say the same, and it passes.
func TestProgramCannotBeExecuted(t *testing.T) {
	t.Parallel()
	for kind, keys := range execKinds {
		for fault, f := range execFaults {
			t.Run(kind+"/"+fault, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(systest.Dir(t), "program")
				m := startGreeter(t, path, keys)
				f.happens(t, path)
				for range 2 {
					m.Dial(t).ExpectGone(t)
				}
				want := strings.ReplaceAll(f.error, "PATH", path)
				for _, e := range m.Wait(t, 2, systest.Is(systest.SpawnFailed)) {
					if e.Level != "error" || e.Error != want || e.Conn == "" || e.Peer == "" || e.Local == "" || e.Service != "one" {
						t.Errorf("%s, want the error %q", e.Line, want)
					}
				}
				if events := m.Events(func(e systest.Event) bool {
					return e.Msg == systest.Penalized || e.Msg == systest.Broken || e.Msg == "" || e.Msg == systest.Reaped
				}); len(events) > 0 {
					t.Errorf("%s", events[0].Line)
				}
				s := looked(t, m).Services[0]
				if s.Failed != 2 || s.Reaped != 0 || s.Live != 0 || s.FailedByCause[f.cause] != 2 || s.Penalized != 0 {
					t.Errorf("%+v", s)
				}
				if r := ran(t, m, "status", "--check"); r.Code != 1 || r.Stdout != "degraded: service one: the last spawn failed: "+f.cause+"\n" {
					t.Errorf("%+v", r)
				}
				must(t, os.RemoveAll(path))
				systest.WriteProgram(t, path, greeting)
				greeted(t, m)
				systest.Until(t, "well again", func() bool { return ran(t, m, "status", "--check").Code == 0 }, nil)
			})
		}
	}
}

// greeting is a program that greets its client, with any handoff.
const greeting = "#!/bin/sh\nif [ \"$LISTEN_FDS\" ]; then exec >&3; fi\necho good\n"

// startGreeter starts a master whose program may be replaced. One connection at a
// time has a slot, so a slot that was not freed shows.
func startGreeter(t *testing.T, path, keys string) *systest.Master {
	t.Helper()
	systest.WriteProgram(t, path, greeting)
	m := systest.Options{Config: single(
		fmt.Sprintf("program = [%q]", path), keys, "max-connections = 1", "overflow = \"wait\"",
		"penalty = \"1m\"", "penalty-exit-codes = [110]")}.Start(t)
	if strings.Contains(keys, "spares") {
		m.Spares = 2
		m.WaitSpares(t, 2)
		m.Baseline(t)
	}
	return m
}

func greeted(t *testing.T, m *systest.Master) {
	t.Helper()
	if got := m.Dial(t).ExpectEnd(t); got != "good\n" {
		t.Fatalf("the client got %q", got)
	}
}

// A program that is being replaced by a copy cannot be executed for a moment. The
// client waits that long.
func TestProgramBusyForAMoment(t *testing.T) {
	t.Parallel()
	for kind, keys := range execKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(systest.Dir(t), "program")
			m := startGreeter(t, path, keys)
			fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			must(t, err)
			time.AfterFunc(100*time.Millisecond, func() { unix.Close(fd) })
			greeted(t, m)
			if s := looked(t, m).Services[0]; s.Failed != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Without the worker binary no spare can be started. That is a failed spawn, too,
// and a program that needs no worker binary goes on being served.
func TestWorkerBinaryGone(t *testing.T) {
	t.Parallel()
	worker := filepath.Join(systest.Dir(t), "worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), worker)
	path := filepath.Join(systest.Dir(t), "program")
	systest.WriteProgram(t, path, greeting)
	m := systest.Options{Config: "[master]\nworker-binary = \"" + worker + "\"\n" +
		single(fmt.Sprintf("program = [%q]", path), "spares = 1")}.Start(t)
	m.Spares = 1
	m.WaitSpares(t, 1)
	m.Baseline(t)
	chmod(t, worker, 0o644)
	greeted(t, m) // by the spare that is there
	e := m.WaitFor(t, systest.Is(systest.SpawnFailed))
	if want := "fork/exec " + worker + ": permission denied"; e.Error != want || e.Conn != "" || e.Reason != "spare" || e.Level != "error" {
		t.Errorf("%s, want %s", e.Line, want)
	}
	greeted(t, m)
	if r := ran(t, m, "status", "--check"); r.Code != 1 || !strings.Contains(r.Stdout, "1 of at least 1 spares are missing") {
		t.Errorf("%+v", r)
	}
	chmod(t, worker, 0o755)
	m.WaitSpares(t, 1)
	systest.Until(t, "well again", func() bool { return ran(t, m, "status", "--check").Code == 0 }, nil)
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A program that cannot be started costs its client the connection, and nobody
// else anything. Once it can be, it is.
func TestSpawnFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string) (repair func())
	}{
		"removed": {func(t *testing.T, path string) func() {
			move(t, path, path+".away")
			return func() { move(t, path+".away", path) }
		}},
		"not executable": {func(t *testing.T, path string) func() {
			chmod(t, path, 0o644)
			return func() { chmod(t, path, 0o755) }
		}},
		"a directory": {func(t *testing.T, path string) func() {
			move(t, path, path+".away")
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				move(t, path+".away", path)
			}
		}},
		"no program": {func(t *testing.T, path string) func() {
			move(t, path, path+".away")
			if err := os.WriteFile(path, []byte("\x7fELF, but no more"), 0o755); err != nil {
				t.Fatal(err)
			}
			return func() { move(t, path+".away", path) }
		}},
		"text file busy": {func(t *testing.T, path string) func() {
			// The program itself cannot be opened for writing while it runs.
			move(t, path, path+".away")
			systest.CopyProgram(t, path+".away", path)
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}},
	} {
		for _, handoff := range []string{"stdio", "worker", "builtin"} {
			t.Run(name+" "+handoff, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(systest.Dir(t), "program")
				args := []string{"--handoff", handoff, "--", path}
				switch handoff {
				case "stdio":
					systest.CopyProgram(t, realPath(t, "/bin/cat"), path)
				case "worker":
					systest.CopyProgram(t, realPath(t, "/bin/sh"), path)
					args = append(args, "-c", "exec cat <&3 >&3")
				case "builtin":
					systest.CopyProgram(t, systest.PreforkdWorker(t), path)
					args = []string{"--worker-binary", path, "echo"}
				}
				m := systest.Start(t, args...)
				before := m.Dial(t)
				before.Echo(t, "before")

				repair := c.spoil(t, path)
				if handoff == "builtin" && name != "not executable" {
					// Workers are of the file that the master began with, whatever is there now.
					m.Dial(t).Echo(t, "the same")
					repair()
					if _, err := os.Stat(path + ".away"); err == nil {
						move(t, path+".away", path) // the master has it open by this name
					}
					return
				}
				for range 3 {
					client := m.Dial(t)
					client.ExpectGone(t)
					failed := m.WaitFor(t, func(e systest.Event) bool {
						return e.Msg == systest.SpawnFailed && e.Peer == client.LocalAddr().String()
					})
					if failed.Error == "" && failed.Reason == "" || failed.Conn == "" || failed.Service == "" {
						t.Errorf("fields are missing: %s", failed.Line)
					}
				}
				before.Echo(t, "meanwhile")
				repair()
				m.Dial(t).Echo(t, "after")
			})
		}
	}
}

// A slot is given back when the spawn fails: failures beyond the cap.
func TestSpawnFailureFreesItsSlot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "program")
	systest.CopyProgram(t, realPath(t, "/bin/cat"), path)
	m := systest.Start(t, "--max-connections", "2", "--", path)
	chmod(t, path, 0o644)
	for range 7 {
		m.Dial(t).ExpectGone(t)
	}
	chmod(t, path, 0o755)
	m.Dial(t).Echo(t, "hello")
	m.Dial(t).Echo(t, "hello")
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

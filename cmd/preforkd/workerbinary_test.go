package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Workers are started from the worker binary that the master has found at first, whatever
// has become of its path: when a package manager has put the next one there, that belongs
// to the next master. They have the name of the binary all the same.
func TestWorkerBinaryIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		spare bool // the first worker is one
		boxed bool
		root  bool
	}{
		"handler":             {lines: []string{`handler = "echo"`, "[service.one.box]", `preset = "none"`}},
		"handler, spare":      {lines: []string{`handler = "echo"`, "spares = 1", "[service.one.box]", `preset = "none"`}, spare: true},
		"handler, user":       {lines: []string{`handler = "echo"`, `user = "nobody"`, "[service.one.box]", `preset = "none"`}, root: true},
		"handler, boxed":      {lines: []string{`handler = "echo"`, "[service.one.box]", `preset = "strict"`}, boxed: true},
		"handler, by default": {lines: []string{`handler = "echo"`}},
		"program":             {lines: []string{catting, "spares = 1"}, spare: true},
		"program, boxed":      {lines: []string{catting, "spares = 1", "[service.one.box]", `preset = "strict"`}, spare: true, boxed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.boxed {
				needBoxes(t)
			} else if c.root {
				systest.NeedRoot(t)
			}
			keepsBinary(t, c.lines, c.spare)
		})
	}
}

// keepsBinary replaces and deletes the worker binary of a master, and reloads in between.
func keepsBinary(t *testing.T, lines []string, spare bool) {
	dir := visibleDir(t)
	binary := filepath.Join(dir, "preforkd-worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), binary)
	was, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	text := "[master]\nworker-binary = '" + binary + "'\n" + single(lines...)
	m := systest.Options{Config: text, Listeners: 1}.Start(t)
	m.Boxed = strings.Contains(text, "strict") || !strings.Contains(text, "none") && strings.Contains(text, "handler")
	expect := func(how string) {
		t.Helper()
		pid := 0
		check := func() {
			t.Helper()
			is, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
			if err != nil || !os.SameFile(was, is) {
				t.Errorf("%s: process %d runs %s, %v", how, pid, systest.Executable(pid), err)
			}
			if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) != "preforkd-worker\n" {
				t.Errorf("%s: process %d is called %q, %v", how, pid, comm, err)
			}
		}
		if spare {
			systest.Until(t, "a spare", func() bool {
				pids := workersOf(m)
				for _, p := range pids {
					pid = p
				}
				return len(pids) == 1
			}, nil)
			systest.Until(t, "a name", func() bool {
				comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
				return err != nil || string(comm) == "preforkd-worker\n"
			}, nil)
			check()
		}
		client := m.Dial(t)
		client.Echo(t, "hello")
		if !strings.Contains(text, "program") {
			pid = client.Worker(t)
			check()
		}
		client.CloseWrite(t)
		client.ExpectEnd(t)
		client.End(t)
	}
	expect("as it is")
	another := filepath.Join(dir, "another")
	systest.WriteProgram(t, another, "#!/bin/sh\nexit 9\n")
	if err := os.Rename(another, binary); err != nil {
		t.Fatal(err)
	}
	expect("replaced")
	if e := m.Reload(t, strings.Replace(text, "[service.one]\n", "[service.one]\nmax-connections = 7\n", 1)); e.Msg != systest.Reloaded {
		t.Errorf("reload: %s", e.Line)
	}
	expect("reloaded")
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	expect("deleted")
	if e := m.Reload(t, text); e.Msg != systest.NotReloaded || !strings.Contains(e.Error, binary) {
		t.Errorf("reload without the binary: %s", e.Line)
	}
	expect("not reloaded")
	m.StopSignal = syscall.SIGQUIT
}

// A reload that names another worker binary starts workers from that.
func TestReloadOfAnotherWorkerBinary(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	text := func(name string) string {
		path := filepath.Join(dir, name, "preforkd-worker")
		if _, err := os.Stat(path); err != nil {
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
			systest.CopyProgram(t, systest.PreforkdWorker(t), path)
		}
		return "[master]\nworker-binary = '" + path + "'\n" + single(`handler = "echo"`, "[service.one.box]", `preset = "none"`)
	}
	m := systest.Options{Config: text("first"), Listeners: 1}.Start(t)
	for _, name := range []string{"first", "second", "first"} {
		if e := m.Reload(t, text(name)); e.Msg != systest.Reloaded {
			t.Errorf("reload: %s", e.Line)
		}
		client := m.Dial(t)
		client.Echo(t, "hello")
		if exe := systest.Executable(client.Worker(t)); exe != filepath.Join(dir, name, "preforkd-worker") {
			t.Errorf("the worker of the %s binary runs %s", name, exe)
		}
		client.Close()
	}
	m.StopSignal = syscall.SIGQUIT // it has opened one more
}

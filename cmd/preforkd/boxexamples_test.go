package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What takes away more than the preset strict, and what shows it.
const (
	usesUnix    = `exec 9< <(python3 -c 'import socket; socket.socket(socket.AF_UNIX)' || echo no); read -r -u 9 x; [ "$x" != no ]`
	usesExec    = `python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)'`
	manyForks   = `python3 -c 'import subprocess as s; [p.kill() for p in [s.Popen(["sleep", "9"]) for i in range(10)]]'`
	muchMemory  = `python3 -c 'bytearray(300_000_000)'`
	twoMegabyte = `head -c 2000000 /dev/zero >/tmp/two`
)

func TestBoxExampleGit(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	git := systest.Need(t, "git")
	dir := visibleDir(t)
	run := func(args ...string) string {
		t.Helper()
		return command(t, "", git, append([]string{"-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	}
	work := filepath.Join(systest.Dir(t), "work")
	run("init", "-q", work)
	if err := os.WriteFile(filepath.Join(work, "large"), noise(1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	run("-C", work, "add", "large")
	run("-C", work, "commit", "-qm", "First")
	run("clone", "-q", "--bare", work, filepath.Join(dir, "project"))
	run("clone", "-q", "--bare", work, filepath.Join(dir, "secret"))
	if err := os.WriteFile(filepath.Join(dir, "project", "git-daemon-export-ok"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e := boxExample{file: "git.toml", replace: []string{"/srv/git", dir}, tightens: map[string]string{
		"restrict-address-families": usesUnix, "memory-deny-write-execute": usesExec,
	}}
	e.use = func(t *testing.T, m *systest.Master) error {
		url := "git://" + m.Listeners[0].Address
		clone := filepath.Join(systest.Dir(t), "clone")
		if _, err := tried(t, "", git, "clone", "-q", url+"/project", clone); err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join(clone, "large")); err != nil || string(got) != string(noise(1<<20)) {
			return errors.New("another file was cloned")
		}
		if _, err := tried(t, "", git, "ls-remote", url+"/secret"); err == nil {
			return errors.New("what is not exported is served")
		}
		if _, err := tried(t, "", git, "-C", clone, "push", "-q", url+"/project", "HEAD:refs/heads/new"); err == nil {
			return errors.New("it can be pushed to")
		}
		return nil
	}
	e.try(t)
}

func TestBoxExampleHTTP(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	systest.Need(t, "busybox")
	curl := systest.Need(t, "curl")
	dir := visibleDir(t)
	if err := os.WriteFile(filepath.Join(dir, "page.html"), []byte("<p>hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := boxExample{file: "httpd.toml", replace: []string{"/srv/www", dir}, tightens: map[string]string{
		"restrict-address-families": usesUnix, "memory-deny-write-execute": usesExec,
	}}
	e.use = func(t *testing.T, m *systest.Master) error {
		got, err := tried(t, "", curl, "-sSf", "http://"+m.Listeners[0].Address+"/page.html")
		if err == nil && got != "<p>hello\n" {
			err = errors.New("the page is " + got)
		}
		return err
	}
	e.try(t)
}

func TestBoxExampleRsync(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	rsync := systest.Need(t, "rsync")
	dir := visibleDir(t)
	for _, name := range []string{"tree/below", "incoming"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const backup = 34 // of Debian's base-passwd
	if err := errors.Join(
		os.Chown(filepath.Join(dir, "incoming"), backup, backup),
		os.WriteFile(filepath.Join(dir, "tree/below/file"), noise(1<<20), 0o644),
		os.WriteFile(filepath.Join(dir, "rsyncd.conf"), []byte(shownIn(t, "rsync.toml", "use chroot", "/srv/rsync", dir)), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	e := boxExample{file: "rsync.toml", replace: []string{"/srv/rsync", dir},
		exceptions: []exception{
			{out: "dynamic-user = false", says: "dynamic-user", refused: true},
			{out: "read-write-paths = [", in: "read-only-paths = [", says: "Read-only file system (30)"},
		},
		tightens: map[string]string{"memory-deny-write-execute": usesExec, "limit-fsize": ""},
	}
	e.use = func(t *testing.T, m *systest.Master) error {
		copied := systest.Dir(t)
		tree, incoming := "rsync://"+listenerOf(t, m, "rsync").Address, "rsync://"+listenerOf(t, m, "incoming").Address
		if _, err := tried(t, "", rsync, "-r", tree+"/tree/", copied); err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join(copied, "below/file")); err != nil || string(got) != string(noise(1<<20)) {
			return errors.New("another file was copied")
		}
		file := filepath.Join(copied, "below/file")
		for _, to := range []string{tree + "/incoming/not", tree + "/tree/not", incoming + "/tree/not"} {
			if _, err := tried(t, "", rsync, file, to); err == nil {
				return errors.New("can be written to: " + to)
			}
		}
		if _, err := tried(t, "", rsync, file, incoming+"/incoming/new"); err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join(dir, "incoming/new")); err != nil || string(got) != string(noise(1<<20)) {
			return errors.New("another file has arrived")
		}
		large := filepath.Join(copied, "large")
		if err := errors.Join(os.WriteFile(large, nil, 0o644), os.Truncate(large, 100_000_001)); err != nil {
			return err
		}
		if _, err := tried(t, "", rsync, large, incoming+"/incoming/large"); err == nil {
			return errors.New("a file that is too large has arrived")
		}
		return nil
	}
	e.try(t)
}

func TestBoxExampleShell(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	dir := visibleDir(t)
	systest.WriteProgram(t, filepath.Join(dir, "words"), shownIn(t, "shell.toml", "#!/bin/sh"))
	e := boxExample{file: "shell.toml", replace: []string{"/srv/scripts", dir}, tightens: map[string]string{
		"restrict-address-families": usesUnix, "memory-deny-write-execute": usesExec,
		"private-tmp-size": twoMegabyte, "limit-nproc": manyForks,
	}}
	e.use = func(t *testing.T, m *systest.Master) error {
		return answered(t, m, "words", "one two\ntwo, two\n", "      3 two\n      1 one\n")
	}
	e.try(t)
}

func TestBoxExamplePython(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	systest.Need(t, "/usr/bin/python3")
	dir := visibleDir(t)
	if err := os.WriteFile(filepath.Join(dir, "sum.py"), []byte(shownIn(t, "python.toml", "import sys")), 0o644); err != nil {
		t.Fatal(err)
	}
	e := boxExample{file: "python.toml", replace: []string{"/srv/scripts", dir}, tightens: map[string]string{
		"restrict-address-families": usesUnix, "memory-deny-write-execute": usesExec,
		"limit-as": muchMemory,
	}}
	e.use = func(t *testing.T, m *systest.Master) error {
		return answered(t, m, "sum", "1 2 3\n40 2\n", "6\n42\n")
	}
	e.try(t)
}

func TestBoxExampleHandler(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	greet := filepath.Join(visibleDir(t), "testworker")
	systest.CopyProgram(t, systest.Program(t, "cmd/internal/systest/testworker"), greet)
	e := boxExample{file: "handler.toml", replace: []string{`"/usr/local/bin/greet"`, `"` + greet + `", "echo"`}, spares: 8, tightens: map[string]string{
		"restrict-address-families": usesUnix, "memory-deny-write-execute": usesExec,
	}}
	e.use = func(t *testing.T, m *systest.Master) error {
		return answered(t, m, "greet", "hello\n", "hello\n")
	}
	e.try(t)
}

// shownIn returns a text that an example shows in its comments, from the line that
// begins with first to the end of the paragraph.
func shownIn(t *testing.T, file, first string, replace ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(treeTop, "deploy/box", file))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(data), "\n#   "+first)
	if !found {
		t.Fatalf("%s does not show %s", file, first)
	}
	shown := first
	for line := range strings.Lines(rest) {
		text, in := strings.CutPrefix(line, "#   ")
		if shown != first && !in {
			break
		}
		shown += text
	}
	return strings.NewReplacer(replace...).Replace(shown)
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Clients that people have.
func TestNetcat(t *testing.T) {
	t.Parallel()
	nc := systest.Need(t, "nc")
	path := filepath.Join(systest.Dir(t), "s")
	m := systest.Start(t, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "unix:"+path, "echo")
	want := strings.Repeat("a line\n", 50_000)
	for i, args := range [][]string{{"-N", "127.0.0.1", m.Listeners[0].Port()}, {"-N", "::1", m.Listeners[1].Port()}, {"-N", "-U", path}} {
		if got := command(t, want, nc, args...); got != want {
			t.Errorf("nc %d: %d bytes came back of %d", i, len(got), len(want))
		}
	}
}

func TestSocat(t *testing.T) {
	t.Parallel()
	socat := systest.Need(t, "socat")
	path := filepath.Join(systest.Dir(t), "s")
	abstract := filepath.Base(path) + filepath.Base(filepath.Dir(path))
	m := systest.Start(t, "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "unix:"+path, "--listen", "unix:@"+abstract, "echo")
	want := string(noise(300_000))
	for _, address := range []string{
		"TCP4:" + m.Listeners[0].Address, "TCP6:" + m.Listeners[1].Address,
		"UNIX-CONNECT:" + path, "ABSTRACT-CONNECT:" + abstract,
	} {
		// -t is how long socat waits for the answer after its own end of file.
		if got := command(t, want, socat, "-t", "60", "-", address); got != want {
			t.Errorf("%s: %d bytes came back of %d", address, len(got), len(want))
		}
	}
}

// A program of the kind that inetd was made for.
func TestGitClone(t *testing.T) {
	t.Parallel()
	git := systest.Need(t, "git")
	base := systest.Dir(t)
	repository := filepath.Join(base, "project")
	run := func(args ...string) string {
		t.Helper()
		return command(t, "", git, append([]string{"-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	}
	run("init", "-q", repository)
	if err := os.WriteFile(filepath.Join(repository, "large"), noise(3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	run("-C", repository, "add", "large")
	run("-C", repository, "commit", "-qm", "First")
	want := run("-C", repository, "rev-parse", "HEAD")

	m := systest.Start(t, program(git, "daemon", "--inetd", "--export-all", "--base-path="+base)...)
	for _, name := range []string{"one", "two"} {
		clone := filepath.Join(systest.Dir(t), name)
		run("clone", "-q", "git://"+m.Listeners[0].Address+"/project", clone)
		if got := run("-C", clone, "rev-parse", "HEAD"); got != want {
			t.Errorf("cloned %s, want %s", got, want)
		}
		if got, err := os.ReadFile(filepath.Join(clone, "large")); err != nil || string(got) != string(noise(3<<20)) {
			t.Errorf("another file was cloned: %v", err)
		}
	}
	for _, e := range m.Wait(t, 2, systest.Is(systest.Reaped)) {
		if e.Code() != 0 || e.Signal != "" {
			t.Errorf("unexpected end: %s", e.Line)
		}
	}
}

// Interpreters and shells are programs too: a script with a #! line, found by
// a relative path or by name.
func TestScripts(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	script := filepath.Join(dir, "greet")
	systest.WriteProgram(t, script, "#!/bin/sh\nread name\necho \"hello $name, I am $1\"\n")
	for name, o := range map[string]systest.Options{
		"absolute": {Args: program(script, "a b")},
		"relative": {Dir: dir, Args: program("./greet", "a b")},
		"by name":  {Wrap: sh(`PATH=`+dir+`:$PATH; exec "$@"`, "sh"), Args: program("greet", "a b")},
	} {
		t.Run(name, func(t *testing.T) {
			m := o.Start(t)
			c := m.Dial(t)
			c.Send(t, "you\n")
			if got := c.ExpectEnd(t); got != "hello you, I am a b\n" {
				t.Errorf("answer %q", got)
			}
		})
	}
}

// What a program writes to stderr goes to the master's, never to the client.
func TestStderrIsNotTheConnection(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, program(sh("echo secret >&2; echo answer")...)...)
	c := m.Dial(t)
	if got := c.ExpectEnd(t); got != "answer\n" {
		t.Errorf("the client got %q", got)
	}
	m.WaitFor(t, func(e systest.Event) bool { return e.Line == "secret" })
}

// A program that ends at once has its words delivered.
func TestManyShortPrograms(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, program("/bin/echo", "hello")...)
	for range 50 {
		if got := m.Dial(t).ExpectEnd(t); got != "hello\n" {
			t.Fatalf("the client got %q", got)
		}
	}
}

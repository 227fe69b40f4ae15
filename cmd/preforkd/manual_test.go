package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The manual tells of every command and every flag, in a form that man has
// nothing to complain about.
func TestManual(t *testing.T) {
	t.Parallel()
	man := systest.Need(t, "man")
	dir := filepath.Join(t.TempDir(), "man")
	if err := writeManual(dir, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	for _, c := range append(root.Commands(), root) {
		page := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
		if c.Hidden {
			if _, err := os.Stat(page); err == nil {
				t.Errorf("%s has a page", c.Name())
			}
			continue
		}
		cmd := exec.Command(man, "--warnings", "-E", "UTF-8", "-l", page)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=100", "MANPAGER=cat")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		text, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, stderr.String())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(string(text), "--"+f.Name) {
				t.Errorf("%s: --%s is missing", page, f.Name)
			}
		})
	}
	soon := func(string) string { return "soon" }
	if err := writeManual(dir, soon); err == nil || !strings.Contains(err.Error(), `SOURCE_DATE_EPOCH "soon"`) {
		t.Errorf("with a date that is none: %v", err)
	}
	if r := systest.Run(t, "manual", dir); r.Code != exitUsage {
		t.Errorf("preforkd has a command for it: %+v", r)
	}
}

// The tool is what make runs. It writes what preforkd completion prints.
func TestManualTool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tool := filepath.Join(dir, "tool")
	built(t, "", "go", "build", "-buildvcs=false", "-tags", "manual", "-o", tool, ".")
	command(t, "", tool, filepath.Join(dir, "man"))
	for _, shell := range []string{"bash", "fish", "zsh"} {
		want := systest.Run(t, "completion", shell).Stdout
		got, err := os.ReadFile(filepath.Join(dir, "man", "completion", "preforkd."+shell))
		if err != nil || string(got) != want || want == "" {
			t.Errorf("%s: %v, %d bytes, want %d", shell, err, len(got), len(want))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "man", "preforkd.toml.5")); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{}, {""}, {dir, dir}} {
		var exit *exec.ExitError
		if err := exec.Command(tool, args...).Run(); !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// Shells take the scripts that are meant for them.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, word := range map[string]string{"bash": "complete -o default", "zsh": "#compdef preforkd", "fish": "complete -c preforkd"} {
		r := systest.Run(t, "completion", shell)
		if r.Code != 0 || !strings.Contains(r.Stdout, word) {
			t.Errorf("%s: exit code %d, %q is missing", shell, r.Code, word)
		}
		t.Run(shell, func(t *testing.T) {
			check := exec.Command(systest.Need(t, shell), "-n")
			check.Stdin = strings.NewReader(r.Stdout)
			if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// What only a running master knows is completed by asking it.
func TestCompletion(t *testing.T) {
	t.Parallel()
	m := systest.Options{Control: true, Args: program("/bin/cat")}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	conn := c.Accepted(t).Conn
	const noFiles, files = ":4\n", ":0\n"
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"kill", "--control", m.Control, ""}, conn + "\tcat " + c.LocalAddr().String() + "\n" + noFiles},
		{[]string{"drain", "--control", m.Control, ""}, "cat\t/bin/cat\n" + noFiles},
		{[]string{"drain", "--control", m.Control, "cat", ""}, noFiles},
		{[]string{"resume", "--control", m.Control, ""}, noFiles}, // nothing is drained
		{[]string{"explain", "--control", m.Control, ""}, noFiles},
		{[]string{"explain", "--control", m.Control, "10.0.0.1", ""}, "cat\t/bin/cat\n" + noFiles},
		{[]string{"kill", "--control", m.Control + ".not", ""}, noFiles},
		{[]string{"log-level", ""}, "debug\ninfo\nwarn\nerror\n" + noFiles},
		{[]string{"serve", ""}, "echo\n" + files},
		{[]string{"sta"}, "status\tLook at the running master, its services and its connections\n" + noFiles},
	} {
		r := systest.Run(t, append([]string{"__complete"}, test.args...)...)
		if r.Code != 0 || r.Stdout != test.want {
			t.Errorf("%q: exit code %d, got %q, want %q", test.args, r.Code, r.Stdout, test.want)
		}
	}
}

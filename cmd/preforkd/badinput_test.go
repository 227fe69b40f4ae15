package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What a person gets wrong is one line on stderr that names it, the right exit
// code, and nothing left behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	long := "unix:" + dir + "/" + strings.Repeat("x", 200)
	free := "127.0.0.1:0"
	for _, c := range []struct {
		name string
		code int
		says string // what the line must quote
		args []string
	}{
		{"no such command", 2, "sevre", []string{"sevre"}},
		{"no port", 2, "127.0.0.1", []string{"serve", "--listen", "127.0.0.1"}},
		{"no number", 2, "no-such-service", []string{"serve", "--listen", "127.0.0.1:no-such-service"}},
		{"port too large", 2, "65536", []string{"serve", "--listen", "127.0.0.1:65536"}},
		{"negative port", 2, "-1", []string{"serve", "--listen", "127.0.0.1:-1"}},
		{"IPv6 without brackets", 2, "::1:7007", []string{"serve", "--listen", "::1:7007"}},
		{"IPv4 of five", 2, "1.2.3.4.5", []string{"serve", "--listen", "1.2.3.4.5:7007"}},
		{"empty address", 2, "address", []string{"serve", "--listen", ""}},
		{"empty unix path", 2, "unix:", []string{"serve", "--listen", "unix:"}},
		{"long unix path", 2, "107", []string{"serve", "--listen", long}},
		{"address of nobody here", 1, "192.0.2.1", []string{"serve", "--listen", "192.0.2.1:0"}},
		{"unix path in no directory", 1, "/nowhere/s", []string{"serve", "--listen", "unix:/nowhere/s"}},
		{"the same address twice", 2, "127.0.0.1:17007", []string{"serve", "--listen", "127.0.0.1:17007", "--listen", "127.0.0.1:17007"}},
		{"unknown handler", 2, "ehco", []string{"serve", "--listen", free, "ehco"}},
		{"two handlers", 2, "", []string{"serve", "--listen", free, "echo", "echo"}},
		{"handler and program", 2, "", []string{"serve", "--listen", free, "echo", "--", "/bin/cat"}},
		{"no program after --", 2, "", []string{"serve", "--listen", free, "--"}},
		{"missing program", 2, "/nowhere/program", []string{"serve", "--listen", free, "--", "/nowhere/program"}},
		{"missing program by name", 2, "no-such-program", []string{"serve", "--listen", free, "--", "no-such-program"}},
		{"directory as program", 2, dir, []string{"serve", "--listen", free, "--", dir}},
		{"program not executable", 2, plain, []string{"serve", "--listen", free, "--", plain}},
		{"missing worker binary", 2, "/nowhere/worker", []string{"serve", "--listen", free, "--worker-binary", "/nowhere/worker", "echo"}},
		{"worker binary not executable", 2, plain, []string{"serve", "--listen", free, "--worker-binary", plain, "echo"}},
		{"directory as worker binary", 2, dir, []string{"serve", "--listen", free, "--worker-binary", dir, "echo"}},
		{"negative limit", 2, "-1", []string{"serve", "--listen", free, "--max-connections", "-1"}},
		{"no limit", 2, "0", []string{"serve", "--listen", free, "--max-connections", "0"}},
		{"limit of words", 2, "many", []string{"serve", "--listen", free, "--max-connections", "many"}},
		{"bad duration", 2, "30", []string{"serve", "--listen", free, "--drain-timeout", "30"}},
		{"negative duration", 2, "-1s", []string{"serve", "--listen", free, "--drain-timeout", "-1s"}},
		{"negative delay", 2, "-1s", []string{"serve", "--listen", free, "--kill-delay", "-1s"}},
		{"bad log level", 2, "loud", []string{"serve", "--listen", free, "--log-level", "loud"}},
		{"bad log format", 2, "xml", []string{"serve", "--listen", free, "--log-format", "xml"}},
		{"bad handoff", 2, "telepathy", []string{"serve", "--listen", free, "--handoff", "telepathy", "--", "/bin/cat"}},
		{"built-in with stdio", 2, "stdio", []string{"serve", "--listen", free, "--handoff", "stdio", "echo"}},
		{"quit word for a program", 2, "quit-word", []string{"serve", "--listen", free, "--quit-word", "exit", "--", "/bin/cat"}},
		{"quit word of two lines", 2, "quit-word", []string{"serve", "--listen", free, "--quit-word", "a\nb", "echo"}},
		{"missing tool", 2, "no-such-tool", []string{"serve", "--listen", free, "--wrap", "no-such-tool -f", "echo"}},
		{"tool and another command", 2, "; rm", []string{"serve", "--listen", free, "--wrap", "env A=1; rm x", "echo"}},
		{"tool with its output elsewhere", 2, "2>", []string{"serve", "--listen", free, "--wrap", "strace 2>/tmp/w", "echo"}},
		{"two mistakes", 2, "max-connections 0: must be at least 1", []string{"serve", "--listen", free, "--max-connections", "0", "--drain-timeout", "-1s"}},
		{"line end in a path", 1, `/nowhere/a\nb`, []string{"serve", "--listen", "unix:/nowhere/a\nb"}},
		{"control sequence in a flag", 2, `\x1b[2J`, []string{"serve", "--\x1b[2J"}},
		{"unknown flag", 2, "--lisen", []string{"serve", "--lisen", free}},
		{"flag without value", 2, "--listen", []string{"serve", "--listen"}},
		{"argument too many", 2, "", []string{"version", "please"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := systest.Run(t, c.args...)
			if r.Code != c.code {
				t.Errorf("exit code %d, want %d", r.Code, c.code)
			}
			oneLine(t, r.Stderr)
			if !strings.Contains(r.Stderr, c.says) {
				t.Errorf("the line does not quote %q: %s", c.says, r.Stderr)
			}
			if r.Stdout != "" {
				t.Errorf("stdout has %q", r.Stdout)
			}
		})
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	})
}

// The worker binary is looked for beside the master, which is no use when it
// is not there; the time to say so is the start.
func TestMissingWorkerBeside(t *testing.T) {
	t.Parallel()
	alone := filepath.Join(systest.Dir(t), "preforkd")
	systest.CopyProgram(t, systest.Preforkd(t), alone)
	r := systest.Options{Wrap: sh(`shift; exec `+alone+` "$@"`, "sh")}.Run(t, "serve", "--listen", "127.0.0.1:0", "echo")
	if r.Code != 2 && r.Code != 1 || !strings.Contains(r.Stderr, "preforkd-worker") {
		t.Errorf("exit code %d: %s", r.Code, r.Stderr)
	}
	oneLine(t, r.Stderr)
}

// It is found beside the master and in ../lib/preforkd, and programs need none.
func TestWorkerIsFound(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]string{"beside": "bin", "in lib": "lib/preforkd", "not needed": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := systest.Dir(t)
			for _, d := range []string{"bin", "lib/preforkd"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			master := filepath.Join(dir, "bin/preforkd")
			systest.CopyProgram(t, systest.Preforkd(t), master)
			args := program("/bin/cat")
			if where != "" {
				systest.CopyProgram(t, systest.PreforkdWorker(t), filepath.Join(dir, where, "preforkd-worker"))
				args = []string{"echo"}
			}
			m := systest.Options{Wrap: sh(`shift; exec `+master+` "$@"`, "sh"), Args: args}.Start(t)
			m.Dial(t).Echo(t, "hello")
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := systest.Run(t, "version")
	if r.Code != 0 || !strings.HasPrefix(r.Stdout, "preforkd ") || r.Stderr != "" {
		t.Errorf("%+v", r)
	}
}

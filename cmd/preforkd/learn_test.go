package main

import (
	"bytes"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A learner is a running preforkd learn.
type learner struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

// startLearning runs preforkd learn and waits until the master observes the service.
func startLearning(t *testing.T, m *systest.Master, args ...string) *learner {
	t.Helper()
	begun := len(m.Events(systest.Is("learning")))
	l := &learner{cmd: exec.Command(systest.Shipped(t), append([]string{"learn", "--control", m.Control}, args...)...)}
	l.cmd.Stdout, l.cmd.Stderr = &l.stdout, &l.stderr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l.cmd.ProcessState == nil {
			l.cmd.Process.Kill()
			l.cmd.Wait()
		}
	})
	m.Wait(t, begun+1, systest.Is("learning"))
	return l
}

// wait waits for the end, and returns what was printed.
func (l *learner) wait(t *testing.T, code int) (keys, said string) {
	t.Helper()
	l.cmd.Wait()
	keys, said = l.stdout.String(), l.stderr.String()
	if l.cmd.ProcessState.ExitCode() != code || !strings.HasPrefix(said, "preforkd: observing the new connections of service ") {
		t.Fatalf("exit code %d, want %d: %s%s", l.cmd.ProcessState.ExitCode(), code, keys, said)
	}
	_, said, _ = strings.Cut(said, "\n")
	return keys, said
}

// end ends it as Ctrl-C does.
func (l *learner) end(t *testing.T) (keys string) {
	t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	keys, said := l.wait(t, 0)
	if said != "" {
		t.Errorf("it says %q", said)
	}
	return keys
}

// learnedCalls returns the calls in what learn has printed.
func learnedCalls(keys string) (names []string) {
	_, rest, _ := strings.Cut(keys, "system-calls = ")
	list, _, _ := strings.Cut(rest, "]")
	for _, found := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(list, -1) {
		names = append(names, found[1])
	}
	return names
}

// asks sends a line to a service that has one listener and expects an answer.
func asks(t *testing.T, m *systest.Master, line, answer string) systest.Event {
	t.Helper()
	c := m.Dial(t)
	c.Send(t, line)
	c.CloseWrite(t)
	got := c.ExpectEnd(t)
	c.Close()
	end := c.End(t)
	if got != answer {
		t.Errorf("the answer is %q, want %q: %s", got, answer, end.Line)
	}
	return end
}

// The keys that learn prints allow what a program does, with its children and its threads,
// and not one call more: without each of them somebody is killed for it.
func TestLearnedKeysAreExact(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	for name, program := range map[string][]string{
		"shell":  {"/bin/sh", "-c", `read line; ls /etc/passwd; echo "$line" | tr a-z A-Z; umask 77; f=$(mktemp); echo x >$f; kill -0 $$ && cat $f; rm $f`},
		"python": {"/usr/bin/python3", "-c", "import sys, subprocess, tempfile\nsys.stdout.write(sys.stdin.readline().upper())\nsys.stdout.flush()\nwith tempfile.TemporaryFile() as f: f.write(b'x')\nsubprocess.run(['/bin/echo', 'x'], check=True)"},
		// What the library does when threads end depends on their order, so what is used once
		// more than while it was learned must not end the program.
		"threads": {"/usr/bin/python3", "-c", "import sys, threading\nt = threading.Thread(target=lambda: sys.stdout.write(sys.stdin.readline().upper()))\nt.start(); t.join()\nprint('x')"},
	} {
		for _, preset := range []string{"strict", "none"} {
			t.Run(name+" "+preset, func(t *testing.T) {
				t.Parallel()
				systest.Need(t, program[0])
				answer := "HELLO\nx\n"
				if name == "shell" {
					answer = "/etc/passwd\n" + answer
				}
				quoted := `["` + program[0] + `", "-c", '''` + program[2] + `''']`
				base := single("program = "+quoted, `stderr = "null"`)
				m := systest.Options{Config: base + "[service.one.box]\npreset = \"" + preset + "\"\n"}.Start(t)
				m.Boxed = true
				l := startLearning(t, m, "one")
				for range 2 {
					asks(t, m, "hello\n", answer)
				}
				keys := l.end(t)
				if !strings.HasPrefix(keys, "# What 2 processes of service one used within ") || strings.Contains(keys, "denied") {
					t.Errorf("printed was %s", keys)
				}
				calls := learnedCalls(keys)
				if len(calls) < 10 {
					t.Fatalf("learned were only %q", calls)
				}
				action := "kill"
				if name == "threads" {
					action, calls = "errno", nil
				}
				// The file ends in the table, to which these keys belong, too.
				with := base + keys + "preset = \"" + preset + "\"\nsystem-calls-action = \"" + action + "\"\n"
				if preset == "none" {
					with += "no-new-privileges = true\n"
				}
				if e := m.Reload(t, with); e.Msg != systest.Reloaded {
					t.Fatal(e.Line)
				}
				if denied, _ := deniedIn(t, asks(t, m, "hello\n", answer)); denied != "" {
					t.Errorf("with all that was learned, %s is denied", denied)
				}
				for _, call := range calls {
					if e := m.Reload(t, strings.Replace(with, `"`+call+`"`, `"getpid"`, 1)); e.Msg != systest.Reloaded {
						t.Fatal(e.Line)
					}
					c := m.Dial(t)
					c.Send(t, "hello\n")
					c.CloseWrite(t)
					if denied, limit := deniedIn(t, c.End(t)); denied != call || denied != "" && limit != "denied" {
						t.Errorf("without %s, denied is %q, limit %q", call, denied, limit)
					}
					c.Close()
				}
				noListeners(t, m)
				m.Baseline(t) // the box is another one than at the start
			})
		}
	}
}

// noListeners waits until the master has no listener of a filter any more.
func noListeners(t *testing.T, m *systest.Master) {
	t.Helper()
	systest.Until(t, "without listeners of filters", func() bool {
		return !slices.ContainsFunc(systest.FDs(m.PID), func(fd systest.FD) bool { return strings.Contains(fd.Target, "seccomp") })
	}, func() string { return "" })
}

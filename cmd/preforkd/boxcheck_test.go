package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// row returns the line of a key in what check --box prints.
func row(t *testing.T, out, key string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == key {
			return strings.Join(fields, " ")
		}
	}
	t.Errorf("there is no %s in\n%s", key, out)
	return ""
}

// check --box tells of the box as it can be made, and fails where a master would.
func TestCheckBox(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	config := boxFile(t)
	r := systest.Run(t, "check", "--config", config, "--box", "one")
	if r.Code != exitOK || r.Stderr != "" || !strings.HasPrefix(r.Stdout, "box of service one, made and tried as root: strict\n") ||
		!strings.HasSuffix(r.Stdout, "\nexposure of service one: 0.7 of 10, SAFE\n") || strings.Contains(strings.ToLower(r.Stdout), "missing") {
		t.Errorf("%+v", r)
	}
	for key, want := range map[string]string{
		"private-network": "✓ private-network yes net namespace strict 0.0", "limit-nofile": "✓ limit-nofile 256 rlimit strict -",
		"memory-deny-write-execute": "✗ memory-deny-write-execute no seccomp strict 0.2",
	} {
		if got := row(t, r.Stdout, key); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if r := systest.Run(t, "check", "--config", config, "--box", "none"); r.Code != exitOK || !strings.HasSuffix(r.Stdout, "exposure of service none: 10.0 of 10, UNSAFE\n") {
		t.Errorf("%+v", r)
	}
	if r := systest.Run(t, "check", "--config", config, "--box", "three"); r.Code != exitUsage || r.Stdout != "" ||
		r.Stderr != `preforkd: there is no service "three"; there is one, two, none`+"\n" {
		t.Errorf("%+v", r)
	}
	// The name of a preset's list is told, and so is what it stands for.
	if r := systest.Run(t, "check", "--box", "cat", "--box-system-calls", "@strict", "--box-system-calls", "mincore", "--", "/bin/cat"); r.Code != exitOK ||
		row(t, r.Stdout, "system-calls") != "✓ system-calls @strict mincore seccomp key 0.0" ||
		!strings.Contains(r.Stdout, "\n@strict of system-calls: @system-service ~@privileged ~@resources ") {
		t.Errorf("%+v", r)
	}
	// What is wrong with a box on any machine.
	if r := systest.Run(t, "check", "--box", "cat", "--box-read-only-paths", "/no/such/path", "--", "/bin/cat"); r.Code != exitUsage || r.Stdout != "" ||
		r.Stderr != `preforkd: box-read-only-paths "/no/such/path": no such file or directory`+"\n" {
		t.Errorf("%+v", r)
	}
}

// What is missing has a row that says so, a reason, and an exit code unless it is
// optional.
func TestCheckBoxMissing(t *testing.T) {
	t.Parallel()
	o := systest.Options{Wrap: withoutAdmin(t)}
	args := []string{"check", "--box", "cat", "--box-preset", "basic", "--box-private-network", "--box-private-ipc", "--box-optional", "private-ipc"}
	r := o.Run(t, append(args, program("/bin/cat")...)...)
	if r.Code != exitFailure || !strings.HasPrefix(r.Stderr, "preforkd: service cat: box: private-network: needs CAP_SYS_ADMIN") || strings.Count(r.Stderr, "\n") != 1 ||
		!strings.Contains(r.Stdout, "\nMISSING: private-network needs CAP_SYS_ADMIN, ") || !strings.Contains(r.Stdout, "\nmissing, as box.optional allows: private-ipc needs CAP_SYS_ADMIN, ") {
		t.Errorf("%+v", r)
	}
	for _, key := range []string{"private-network", "private-ipc"} {
		if got := row(t, r.Stdout, key); !strings.HasPrefix(got, "✗ "+key+" no ") || !strings.Contains(got, " missing ") {
			t.Errorf("got %q", got)
		}
	}
	args = append(args, "--box-optional", "private-network")
	if r := o.Run(t, append(args, program("/bin/cat")...)...); r.Code != exitOK || r.Stderr != "" || strings.Contains(r.Stdout, "MISSING") {
		t.Errorf("%+v", r)
	}
}

// It fits a terminal of 80 columns.
func TestCheckBoxAtTheTerminal(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	s := atTerminalOf(t, 80, `"$0" check --config "$1" --box one; echo "ended with $?"`)
	s.expect("made and tried as root")
	s.expect("exposure of service one: 0.7 of 10, SAFE")
	s.expect("ended with 0")
	for line := range strings.Lines(s.all.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > 80 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// The services of the file are completed.
func TestCompletionOfBoxes(t *testing.T) {
	t.Parallel()
	config := boxFile(t)
	const want = "one\tstrict\ntwo\tbasic\nnone\tnone\n:4\n"
	for _, args := range [][]string{{"box", "--config", config, ""}, {"check", "--config", config, "--box", ""}} {
		if r := systest.Run(t, append([]string{"__complete"}, args...)...); r.Code != 0 || r.Stdout != want {
			t.Errorf("%q: %+v", args, r)
		}
	}
	// The program comes next.
	if r := systest.Run(t, "__complete", "box", "--config", config, "one", ""); r.Code != 0 || r.Stdout != ":0\n" {
		t.Errorf("%+v", r)
	}
}

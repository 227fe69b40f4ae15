package needtest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Forbidden reports whether skipping is forbidden.
func Forbidden() bool { return os.Getenv("CI") == "true" }

// EnvSkipped names a file to which every test that is skipped adds a line: its
// name, a tab and the reason. `make test` sums up the lines.
const EnvSkipped = "PREFORKD_TEST_SKIPPED"

// Skip skips a test and gives the reason in one line. Where skipping is forbidden, Skip
// fails the test instead.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if Forbidden() {
		t.Fatalf("CI=true, where nothing is skipped: %s", reason)
	}
	SkipAnywhere(t, reason)
}

// SkipAnywhere skips a test for something that nobody can install, such as a right
// that a container does not have, also where Skip is forbidden.
func SkipAnywhere(t testing.TB, reason string) {
	t.Helper()
	if reason = oneLine(reason); reason == "" {
		t.Fatal("skipped without a reason")
	}
	if path := os.Getenv(EnvSkipped); path != "" {
		if err := note(path, t.Name()+"\t"+reason+"\n"); err != nil {
			t.Fatalf("skipped for %q, which cannot be noted: %v", reason, err)
		}
	}
	t.Skip(reason)
}

// oneLine returns what is often the output of a program as one line.
func oneLine(reason string) string {
	return strings.ReplaceAll(strings.TrimSpace(reason), "\n", "; ")
}

// note appends a line to a file to which other processes append as well.
func note(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// Root skips a test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// Program returns the path of a program that a test needs. It skips the test when the
// program is missing.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, "needs the program "+name)
	}
	return path
}

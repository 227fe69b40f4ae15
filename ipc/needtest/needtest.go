package needtest

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Forbidden reports whether no test may be skipped.
func Forbidden() bool { return os.Getenv("CI") == "true" }

// EnvSkipped names a file to which every test that is skipped adds a line: its
// name, a tab and the reason. `make test` sums up the lines.
const EnvSkipped = "PREFORKD_TEST_SKIPPED"

// Skip skips a test for a reason of one line, or fails it for that.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if Forbidden() {
		t.Fatalf("CI=true, where nothing is skipped: %s", reason)
	}
	if path := os.Getenv(EnvSkipped); path != "" {
		if err := note(path, t.Name()+"\t"+reason+"\n"); err != nil {
			t.Fatalf("skipped for %q, which cannot be noted: %v", reason, err)
		}
	}
	t.Skip(reason)
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

// Program returns the path of a program that a test needs.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, "needs the program "+name)
	}
	return path
}

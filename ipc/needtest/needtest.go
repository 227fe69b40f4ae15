package needtest

import (
	"os"
	"os/exec"
	"testing"
)

// Forbidden reports whether skipping is forbidden.
func Forbidden() bool { return os.Getenv("CI") == "true" }

// Skip skips a test and gives the reason in one line. Where skipping is forbidden, Skip
// fails the test instead.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if Forbidden() {
		t.Fatalf("CI=true, where nothing is skipped: %s", reason)
	}
	t.Skip(reason)
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

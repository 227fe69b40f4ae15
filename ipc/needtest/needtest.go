package needtest

import (
	"os"
	"os/exec"
	"testing"
)

// Forbidden reports whether no test may be skipped.
func Forbidden() bool { return os.Getenv("CI") == "true" }

// Skip skips a test for a reason of one line, or fails it for that.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if Forbidden() {
		t.Fatalf("CI=true, where nothing is skipped: %s", reason)
	}
	t.Skip(reason)
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

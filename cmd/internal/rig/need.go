package rig

import (
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// skipped is set once a test was skipped in this process.
var skipped atomic.Bool

// Skip skips a test for a reason of one line, or fails it when
// PREFORKD_NO_SKIP=1 says that this machine has all that the tests need.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("PREFORKD_NO_SKIP") == "1" {
		t.Fatalf("PREFORKD_NO_SKIP=1, but: %s", reason)
	}
	skipped.Store(true)
	t.Skip(reason)
}

// Need skips a test unless a program is installed, and returns its path.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Skip(t, "needs the program "+program)
	}
	return path
}

// NeedRoot skips a test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

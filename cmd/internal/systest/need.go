package systest

import (
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// skipped is set once a test was skipped in this process.
var skipped atomic.Bool

// Skip is needtest.Skip for tests that may be all that start a helper.
func Skip(t testing.TB, reason string) {
	t.Helper()
	skipped.Store(true)
	needtest.Skip(t, reason)
}

// SkipAnywhere skips a test as needtest.SkipAnywhere does.
func SkipAnywhere(t testing.TB, reason string) {
	t.Helper()
	skipped.Store(true)
	needtest.SkipAnywhere(t, reason)
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

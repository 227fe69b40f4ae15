package unit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
	"github.com/preforkd/preforkd/ipc/needtest"
)

const (
	deadline = 2 * time.Minute
	look     = 5 * time.Millisecond
)

// bench is the path of the benchmark, which TestMain builds where a machine can
// be booted at all.
var bench string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if nspawn.Missing() != nil {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "preforkd-unit-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bench = filepath.Join(dir, "preforkd-bench")
	if out, err := exec.Command("go", "build", "-o", bench, "..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build preforkd-bench: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// need skips where no machine can be booted or no program for it compiled.
func need(t *testing.T) {
	t.Helper()
	if err := nspawn.Missing(); err != nil {
		needtest.Skip(t, err.Error())
	}
	needtest.Program(t, "gcc")
}

// await waits for a state that nothing announces.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not %s after %v", what, deadline)
		case <-time.After(look):
		}
	}
}

// below returns every living process below one, that excluded.
func below(pid int) []int {
	var found []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				found = append(append(found, child), below(child)...)
			}
		}
	}
	return found
}

// workers returns those of the processes below one that run a unit's program.
func workers(pid int) []int {
	var found []int
	for _, p := range below(pid) {
		if path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", p)); path == server.UnitProgram {
			found = append(found, p)
		}
	}
	return found
}

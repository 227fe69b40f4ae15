// Package systemdtest tries the units of deploy in a real systemd, which it boots once
// for all tests. What "make install" places is placed in that machine; every
// test configures preforkd.service anew, looks at it through systemctl,
// journalctl and its clients, and leaves it stopped.
//
// The tests run one after the other: they share the unit.
package systemdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// deadline is how long anything may take; only what is broken takes as long.
func deadline() time.Duration { return slowtest.Scale(2 * time.Minute) }

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.machine != nil {
		if err := shared.machine.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// shared is the machine of all tests, once one needs it.
var shared struct {
	once    sync.Once
	machine *nspawn.Machine
	err     error
}

// boot returns the machine. A test is skipped where there can be none.
func boot(t *testing.T) *nspawn.Machine {
	t.Helper()
	if err := nspawn.Missing(); err != nil {
		needtest.Skip(t, err.Error())
	}
	shared.once.Do(func() { shared.machine, shared.err = bootInstalled() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.machine
}

// bootInstalled boots a machine that preforkd is installed on.
func bootInstalled() (*nspawn.Machine, error) {
	dir, err := os.MkdirTemp("", "preforkd-systemd-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := makeInstall(filepath.Join(dir, "bin"), "DESTDIR="+root, "install"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline())
	defer cancel()
	return nspawn.Boot(ctx, nspawn.Options{Trees: []string{root}})
}

// makeInstall runs make, with a directory of its own for what is built: others
// may be using the usual one.
func makeInstall(bin string, args ...string) error {
	cmd := exec.Command("make", append([]string{"-C", "../..", "BIN=" + bin}, args...)...)
	// The variables of a make that runs the tests are not for this one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == "MAKEFLAGS" || name == "MFLAGS" || name == "MAKELEVEL"
	})
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("%v: %w", cmd.Args, err), errors.New(string(out)))
	}
	return nil
}

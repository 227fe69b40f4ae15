package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
)

// The tests that call located or prepared run where this process has a delegated cgroup:
//
//	systemd-run --wait --pipe -p Delegate=yes ./cgroup.test -test.v

// located returns the delegated cgroup of this process, and skips the test where there is
// none.
func located(t *testing.T) *Root {
	t.Helper()
	root, err := Locate()
	if err != nil {
		if _, missing := errors.AsType[*MissingError](err); !missing {
			t.Fatal(err)
		}
		needtest.SkipAnywhere(t, "needs a delegated cgroup: "+err.Error())
	}
	return root
}

// prepared returns the delegated cgroup of this process with some controllers. At the end
// of the test nothing must be left in it, and no descriptor.
func prepared(t *testing.T, controllers ...string) *Root {
	t.Helper()
	root := located(t)
	if err := root.Missing(controllers); err != nil {
		needtest.SkipAnywhere(t, err.Error())
	}
	fds := fdtest.Open(t)
	if _, err := root.Prepare(controllers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		root.Close()
		if left, err := filepath.Glob(root.Path() + "/" + servicePrefix + "*"); len(left) > 0 || err != nil {
			t.Errorf("left: %q, %v", left, err)
		}
		if now := fdtest.Open(t); now != fds {
			t.Errorf("%d descriptors, %d before", now, fds)
		}
	})
	return root
}

func newService(t *testing.T, root *Root, l Limits) *Service {
	t.Helper()
	s, err := root.Service(t.Name(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newLeaf(t *testing.T, s *Service, l Limits) *Leaf {
	t.Helper()
	leaf, err := s.Leaf(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := leaf.Close(); err != nil {
			t.Error(err)
		}
	})
	return leaf
}

// startIn starts a program in a leaf.
func startIn(leaf *Leaf, cmd *exec.Cmd) error {
	fd, err := leaf.Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	return cmd.Start()
}

// runIn runs a shell in a leaf until it ends, and returns what was written until then and
// how it ended. The leaf is killed if that takes too long.
func runIn(t *testing.T, leaf *Leaf, script string) (string, error) {
	t.Helper()
	// A file, because Wait would wait for grandchildren that have a pipe.
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = file
	if err := startIn(leaf, cmd); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(slowtest.Scale(time.Minute), func() {
		t.Error("the shell did not end")
		leaf.directory.write("cgroup.kill", "1")
	})
	defer timer.Stop()
	ended := cmd.Wait()
	out, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), ended
}

func result(t *testing.T, leaf *Leaf) Result {
	t.Helper()
	r, err := leaf.Result()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// begin makes a leaf ready for the next connection when the last one has ended.
func begin(t *testing.T, leaf *Leaf) {
	t.Helper()
	empty(t, leaf)
	if err := leaf.Begin(); err != nil {
		t.Fatal(err)
	}
}

// empty waits until the processes of a leaf are gone, which they are a moment after they
// were reaped, and a child that was killed together with its parent may be later still.
// Then it waits until the kernel has taken back what they had of memory.
func empty(t *testing.T, leaf *Leaf) {
	t.Helper()
	slowtest.Await(t, "the leaf is empty", func() bool {
		populated, err := leaf.Populated()
		return !populated && err == nil
	})
	if slices.Contains(leaf.controllers, "memory") {
		slowtest.Await(t, "memory was taken back", func() bool {
			used, err := leaf.directory.value("memory.current")
			return err == nil && used < 8*megabyte
		})
	}
}

func kill(t *testing.T, leaf *Leaf) {
	t.Helper()
	if err := leaf.Kill(); err != nil {
		t.Fatal(err)
	}
	if populated, err := leaf.Populated(); populated || err != nil {
		t.Fatalf("after Kill: populated %v, %v", populated, err)
	}
}

// ended reports whether a process has ended, of which a file tells.
func ended(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	return boxtest.Ended(n)
}

func wasKilled(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGKILL
}

// fileOf returns the text of a file of a cgroup, "" if there is none.
func fileOf(t *testing.T, d directory, name string) string {
	t.Helper()
	text, err := d.read(name)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// sleepIn starts a program that sleeps in a leaf.
func sleepIn(t *testing.T, leaf *Leaf, program string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, "1000000")
	if err := startIn(leaf, cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

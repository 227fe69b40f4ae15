package cgroup

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asMaster makes the test binary a master that leaves things behind.
const asMaster = "PREFORKD_TEST_CGROUP_MASTER"

func TestMain(m *testing.M) {
	if os.Getenv(asMaster) != "" {
		if err := leaveThingsBehind(); err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// leaveThingsBehind is a master that has a service with a process, says so, and waits to
// be killed.
func leaveThingsBehind() error {
	root, err := Locate()
	if err != nil {
		return err
	}
	if _, err := root.Prepare([]string{"pids"}); err != nil {
		return err
	}
	s, err := root.Service("killed", Limits{})
	if err != nil {
		return err
	}
	for range 3 {
		leaf, err := s.Leaf(Limits{TasksMax: 5})
		if err != nil {
			return err
		}
		cmd := exec.Command("sleep", "1000")
		if err := startIn(leaf, cmd); err != nil {
			return err
		}
	}
	os.Stdout.WriteString("ready\n")
	io.Copy(io.Discard, os.Stdin)
	return errors.New("was not killed")
}

func TestMasterMovesItself(t *testing.T) {
	root := prepared(t, "memory", "pids")
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMembership(string(self))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(root.own, m.path) || filepath.Dir(root.own) != root.Path() {
		t.Errorf("this process is in %s, its leaf is %s below %s", m.path, root.own, root.Path())
	}
	if left := fileOf(t, root.directory, "cgroup.procs"); left != "" {
		t.Errorf("processes %q are in %s", left, root.Path())
	}
	enabled := strings.Fields(fileOf(t, root.directory, "cgroup.subtree_control"))
	if !slices.Contains(enabled, "memory") || !slices.Contains(enabled, "pids") {
		t.Errorf("enabled are %q", enabled)
	}
	// Who looks from the leaf finds the same cgroup.
	if again := located(t); again.Path() != root.Path() {
		t.Errorf("located %s, and before that %s", again.Path(), root.Path())
	}
	err = root.Missing([]string{"pids", "nosuch", "memory"})
	if _, missing := errors.AsType[*MissingError](err); !missing || !strings.Contains(err.Error(), "lacks the controllers: nosuch (") {
		t.Errorf("a controller that is not there: %v", err)
	}
	if _, err := root.Prepare([]string{"nosuch"}); err == nil {
		t.Error("Prepare has a controller that is not there")
	}
	// Prepare of another Root is refused, also after this one was refused.
	other := located(t)
	if _, err := other.Prepare([]string{"pids"}); err == nil {
		t.Error("two masters have one cgroup")
	}
	root.Close()
	if _, err := other.Prepare([]string{"pids"}); err != nil {
		t.Errorf("after the first master has ended: %v", err)
	}
	other.Close()
}

// Who is in the delegated cgroup beside the master is moved as well.
func TestNeighboursAreMoved(t *testing.T) {
	root := located(t)
	leaf := root.own
	if leaf == root.Path() {
		leaf = filepath.Join(leaf, masterLeaf)
	}
	for _, c := range strings.Fields(fileOf(t, root.directory, "cgroup.subtree_control")) {
		if err := root.directory.write("cgroup.subtree_control", "-"+c); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := root.directory.write("cgroup.procs", pid); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Prepare([]string{"pids"}); err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if in := strings.Fields(fileOf(t, absolute(leaf), "cgroup.procs")); !slices.Contains(in, pid) {
		t.Errorf("in %s are %q, want %s", leaf, in, pid)
	}
}

// A master that was killed leaves a service behind. The next one removes it, and nothing
// else.
func TestLeftovers(t *testing.T) {
	root := located(t)
	other := absolute(filepath.Join(root.Path(), "other"))
	if err := other.make(); err != nil {
		t.Fatal(err)
	}
	defer other.removeOne()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asMaster+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the master said %q, %v, %v", line, err, cmd.Wait())
	}
	// While it lives nobody else takes its cgroup.
	_, err = root.Prepare([]string{"pids"})
	if _, missing := errors.AsType[*MissingError](err); !missing {
		t.Errorf("beside another master: %v", err)
	}
	killed := absolute(filepath.Join(root.Path(), directoryName("killed")))
	var pids []string
	for _, leaf := range []string{"leaf-1", "leaf-2", "leaf-3"} {
		pids = append(pids, fileOf(t, killed, leaf+"/cgroup.procs"))
	}
	cmd.Process.Kill()
	cmd.Wait()
	leftovers, err := root.Prepare([]string{"pids"})
	if leftovers != 1 || err != nil {
		t.Fatalf("%d leftovers, %v", leftovers, err)
	}
	defer root.Close()
	for _, pid := range pids {
		if !ended(t, pid) {
			t.Errorf("process %q is left", pid)
		}
	}
	if killed.has(".") || !other.has(".") {
		t.Errorf("%s is there: %v; %s is there: %v", killed.path, killed.has("."), other.path, other.has("."))
	}
}

// A cgroup that cannot be prepared is free for another try.
func TestFailedPrepareLetsGo(t *testing.T) {
	dir := t.TempDir()
	writeFake(t, filepath.Join(dir, "cgroup.controllers"), "pids\n")
	for range 2 {
		root := &Root{directory: absolute(dir), own: filepath.Join(dir, masterLeaf), lock: -1}
		// A file to read the processes from is missing.
		if _, err := root.Prepare([]string{"pids"}); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "cgroup.procs") {
			t.Errorf("%v", err)
		}
		if root.lock >= 0 {
			t.Error("the lock is kept")
		}
	}
}

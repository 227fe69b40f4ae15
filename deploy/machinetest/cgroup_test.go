package machinetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestControllers shows that there is what limits connections: in the machine, and in
// the group that is delegated to a test.
func TestControllers(t *testing.T) {
	Run(t, func(t *testing.T) {
		group := ownGroup(t)
		for _, file := range []string{"/sys/fs/cgroup/cgroup.controllers", group + "/cgroup.controllers"} {
			controllers, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"cpu", "io", "memory", "pids"} {
				if !slices.Contains(strings.Fields(string(controllers)), want) {
					t.Errorf("%s is %q, without %s", file, controllers, want)
				}
			}
		}
	})
}

// TestLimits shows that limits hold here, and that the events of the group tell of it.
func TestLimits(t *testing.T) {
	Run(t, func(t *testing.T) {
		for _, c := range []struct{ limit, value, script, events, event string }{
			// A tmpfs counts for the group that writes to it.
			{"memory.max", "16M", "head -c 64M /dev/zero >/dev/shm/preforkd-limits", "memory.events", "oom_kill"},
			{"pids.max", "2", "sleep 1 & sleep 1 & sleep 1 & wait", "pids.events", "max"},
		} {
			leaf := makeLeaf(t, map[string]string{c.limit: c.value})
			dir, err := os.Open(leaf)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			cmd := exec.Command("sh", "-c", c.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
			out, err := cmd.CombinedOutput()
			if events := readEvents(t, filepath.Join(leaf, c.events)); events[c.event] == "" || events[c.event] == "0" {
				t.Errorf("with %s = %s, %s has %q; the program has ended with %v\n%s", c.limit, c.value, c.events, events, err, out)
			}
		}
		if err := os.Remove("/dev/shm/preforkd-limits"); err != nil {
			t.Error(err)
		}
	})
}

// ownGroup returns the directory of the cgroup that is delegated to this process, which
// is in a subgroup of it.
func ownGroup(t *testing.T) string {
	t.Helper()
	group, err := groupOf("self")
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(group) != "tests" {
		t.Fatalf("the test is in %s, not in a subgroup of its own", group)
	}
	return filepath.Dir(group)
}

// makeLeaf makes a cgroup with limits, which is removed when the test ends.
func makeLeaf(t *testing.T, limits map[string]string) string {
	t.Helper()
	group := ownGroup(t)
	if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+memory +pids"), 0); err != nil {
		t.Fatal(err)
	}
	leaf, err := os.MkdirTemp(group, "leaf-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A process that ends closes its files before it leaves its group.
		err := os.Remove(leaf)
		for end := time.Now().Add(deadline()); errors.Is(err, unix.EBUSY) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			err = os.Remove(leaf)
		}
		if err != nil {
			t.Error(err)
		}
	})
	for file, value := range limits {
		if err := os.WriteFile(filepath.Join(leaf, file), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	return leaf
}

// readEvents returns the counters of a file of events by their names.
func readEvents(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	events := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, count, _ := strings.Cut(strings.TrimSpace(line), " ")
		events[name] = count
	}
	return events
}

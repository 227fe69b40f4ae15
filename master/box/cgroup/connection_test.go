package cgroup

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/fdpark"
)

const megabyte = 1 << 20

// memoryBomb is a shell whose child takes memory without end (tail keeps a line that does
// not end). The shell itself must die with it.
const memoryBomb = "tail /dev/zero; echo survived"

func noSwap() *uint64 { return new(uint64) }

func TestMemoryMax(t *testing.T) {
	s := newService(t, prepared(t, "memory"), Limits{})
	leaf := newLeaf(t, s, Limits{MemoryMax: 32 * megabyte, MemorySwapMax: noSwap()})
	out, err := runIn(t, leaf, memoryBomb)
	if out != "" || !wasKilled(err) {
		t.Errorf("the shell wrote %q and ended with %v", out, err)
	}
	first := result(t, leaf)
	t.Logf("%+v", first)
	if first.OOMKills < 2 || first.MemoryMaxHits == 0 {
		t.Errorf("not counted: %+v", first)
	}
	if first.MemoryPeak < 24*megabyte || first.MemoryPeak > 33*megabyte {
		t.Errorf("a peak of %d bytes, with a limit of %d", first.MemoryPeak, 32*megabyte)
	}
	if first.CPUTime <= 0 {
		t.Errorf("a CPU time of %v", first.CPUTime)
	}

	// What the first connection did is not told of the second.
	begin(t, leaf)
	if _, err := runIn(t, leaf, "exit 0"); err != nil {
		t.Fatal(err)
	}
	second := result(t, leaf)
	t.Logf("%+v", second)
	if second.OOMKills != 0 || second.MemoryMaxHits != 0 || second.MemoryPeak > 16*megabyte {
		t.Errorf("of an idle connection: %+v", second)
	}
	if second.CPUTime <= 0 {
		t.Errorf("a CPU time of %v", second.CPUTime)
	}
	if leaf.reset && second.MemoryPeak == 0 {
		t.Error("the peak was reset, and is not told")
	}

	// A later one is counted again.
	begin(t, leaf)
	if _, err := runIn(t, leaf, memoryBomb); !wasKilled(err) {
		t.Errorf("the second bomb ended with %v", err)
	}
	if third := result(t, leaf); third.OOMKills < 2 || leaf.reset && third.MemoryPeak < 24*megabyte {
		t.Errorf("of the second bomb: %+v", third)
	}
}

// The memory of the whole service ends the connection that takes it, and no other.
func TestServiceMemoryMax(t *testing.T) {
	s := newService(t, prepared(t, "memory"), Limits{MemoryMax: 48 * megabyte, MemorySwapMax: noSwap()})
	quiet, bomb := newLeaf(t, s, Limits{}), newLeaf(t, s, Limits{})
	cmd := exec.Command("sleep", "1000")
	if err := startIn(quiet, cmd); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := runIn(t, bomb, memoryBomb); !wasKilled(err) {
		t.Errorf("the bomb ended with %v", err)
	}
	if r := result(t, bomb); r.OOMKills < 2 || r.MemoryMaxHits != 0 {
		t.Errorf("of the bomb: %+v", r)
	}
	if r := result(t, quiet); r.OOMKills != 0 {
		t.Errorf("of its neighbour: %+v", r)
	}
	if populated, err := quiet.Populated(); !populated || err != nil {
		t.Errorf("its neighbour: populated %v, %v", populated, err)
	}
}

func TestTasksMax(t *testing.T) {
	s := newService(t, prepared(t, "pids"), Limits{})
	leaf := newLeaf(t, s, Limits{TasksMax: 10})
	// The shell ends with an error at the first fork that is refused.
	if _, err := runIn(t, leaf, "while :; do sleep 1000 & done"); err == nil {
		t.Error("the shell has forked without end")
	}
	if r := result(t, leaf); r.TasksMaxHits == 0 || r.TasksPeak != 10 {
		t.Errorf("of a fork bomb: %+v", r)
	}
	if populated, err := leaf.Populated(); !populated || err != nil {
		t.Errorf("with its children: populated %v, %v", populated, err)
	}
	kill(t, leaf)
	begin(t, leaf)
	if _, err := runIn(t, leaf, "exit 0"); err != nil {
		t.Fatal(err)
	}
	if r := result(t, leaf); r.TasksMaxHits != 0 || r.TasksPeak != 0 {
		t.Errorf("of one process after the bomb: %+v, want no peak", r)
	}
}

func TestCPUQuota(t *testing.T) {
	s := newService(t, prepared(t, "cpu"), Limits{})
	leaf := newLeaf(t, s, Limits{CPUQuota: 5})
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := startIn(leaf, cmd); err != nil {
		t.Fatal(err)
	}
	slowtest.Await(t, "three periods are throttled", func() bool { return result(t, leaf).CPUThrottled >= 3 })
	kill(t, leaf)
	cmd.Wait()
	begin(t, leaf)
	if r := result(t, leaf); r.CPUThrottled != 0 || r.CPUTime != 0 {
		t.Errorf("of nothing: %+v", r)
	}
}

// Nothing that a connection has started survives Kill.
func TestKillEndsDaemon(t *testing.T) {
	s := newService(t, prepared(t, "pids"), Limits{})
	leaf := newLeaf(t, s, Limits{})
	daemon := filepath.Join(t.TempDir(), "pid")
	script := `trap "" TERM HUP INT; (setsid sh -c 'trap "" TERM; sleep 1000 & echo $! >` + daemon + `' &) & wait`
	if _, err := runIn(t, leaf, script); err != nil {
		t.Fatal(err)
	}
	var pid string
	slowtest.Await(t, "the daemon runs", func() bool {
		out, _ := exec.Command("cat", daemon).Output()
		pid = strings.TrimSpace(string(out))
		return pid != ""
	})
	if populated, err := leaf.Populated(); !populated || err != nil || ended(t, pid) {
		t.Fatalf("before Kill: populated %v, %v; process %s has ended: %v", populated, err, pid, ended(t, pid))
	}
	events, err := leaf.directory.openFile("cgroup.events", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	if empty, err := leaf.directory.waitEmpty(events, time.Millisecond); empty || err != nil {
		t.Fatalf("before Kill: empty %v, %v", empty, err)
	}
	kill(t, leaf)
	if !ended(t, pid) {
		t.Errorf("process %s is left", pid)
	}
	kill(t, leaf) // of nothing
}

// Close removes a leaf whatever is in it, and what a process with the rights for it has
// made below.
func TestCloseRemovesAll(t *testing.T) {
	s := newService(t, prepared(t, "pids"), Limits{})
	leaf := newLeaf(t, s, Limits{})
	if _, err := runIn(t, leaf, "mkdir -p "+leaf.directory.path+"/a/b; setsid sleep 1000 & exit 0"); err != nil {
		t.Fatal(err)
	}
	if !leaf.directory.has("a/b") {
		t.Fatal("the shell made no cgroup")
	}
	if err := leaf.Close(); err != nil {
		t.Error(err)
	}
	if leaf.directory.has(".") {
		t.Error("the leaf is there")
	}
	// The same for a service. The order does not matter.
	leaf = newLeaf(t, s, Limits{})
	if _, err := runIn(t, leaf, "setsid sleep 1000 & exit 0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s.directory.has(".") {
		t.Error("the service is there")
	}
	if _, err := s.Leaf(Limits{}); err == nil {
		t.Error("a closed service has made a leaf")
	}
}

func TestManyLeaves(t *testing.T) {
	s := newService(t, prepared(t, "memory", "pids", "cpu"), Limits{})
	n := 500
	if testing.Short() {
		n = 100
	}
	leaves, cmds := make([]*Leaf, n), make([]*exec.Cmd, n)
	fds := fdtest.Open(t)
	for i := range leaves {
		leaves[i] = newLeaf(t, s, Limits{TasksMax: 5, MemoryMax: 64 * megabyte})
	}
	for round := range 2 {
		for i, leaf := range leaves {
			if round > 0 && i%50 != 0 {
				continue // one in 50 is used again
			}
			begin(t, leaf)
			cmds[i] = exec.Command("true")
			if err := startIn(leaf, cmds[i]); err != nil {
				t.Fatal(err)
			}
		}
		if now := fdtest.Open(t); round == 0 && now > fds+n { // os/exec has one for each process
			t.Errorf("%d leaves in use have %d descriptors", n, now-fds)
		}
		for i, leaf := range leaves {
			if round > 0 && i%50 != 0 {
				continue
			}
			if err := cmds[i].Wait(); err != nil {
				t.Fatal(err)
			}
			empty(t, leaf)
			if r := result(t, leaf); r.CPUTime <= 0 || round == 0 && r.TasksPeak != 1 || r.OOMKills+r.TasksMaxHits > 0 {
				t.Errorf("leaf %d: %+v", i, r)
			}
		}
	}
	for _, leaf := range leaves {
		if err := leaf.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := filepath.Glob(s.directory.path + "/leaf-*"); len(left) > 0 || err != nil {
		t.Errorf("left: %q, %v", left, err)
	}
}

// Descriptors that leaves keep do not get into the table that fork copies.
func TestParkIn(t *testing.T) {
	root := prepared(t, "memory")
	thread, err := fdpark.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(thread.Close)
	root.ParkIn(thread.Do)
	s := newService(t, root, Limits{})
	leaf := newLeaf(t, s, Limits{})
	if _, err := runIn(t, leaf, "exit 0"); err != nil {
		t.Fatal(err)
	}
	before := fdtest.Open(t)
	begin(t, leaf)
	if now := fdtest.Open(t); now != before {
		t.Errorf("%d descriptors after Begin, %d before", now, before)
	}
	if _, err := runIn(t, leaf, "exit 0"); err != nil {
		t.Fatal(err)
	}
	if r := result(t, leaf); leaf.reset && r.MemoryPeak == 0 {
		t.Errorf("no peak: %+v", r)
	}
	parked := leaf.peak
	if err := leaf.Close(); err != nil {
		t.Error(err)
	}
	thread.Do(func() {
		if parked >= 0 {
			_, err = unix.FcntlInt(uintptr(parked), unix.F_GETFD, 0)
		}
	})
	if parked >= 0 && err != unix.EBADF {
		t.Errorf("after Close the descriptor is open: %v", err)
	}
}

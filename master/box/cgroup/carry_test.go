package cgroup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
)

// divided returns a new cgroup without controllers, which every machine with version 2 lets
// root make, as the state of a Root. It is removed at the end of the test.
func divided(t *testing.T) (*State, *carry.Descriptors) {
	t.Helper()
	own := ""
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			own = path
		}
	}
	path := filepath.Join(own, fmt.Sprintf("preforkd-test-%d", os.Getpid()))
	if own == "" || unix.Mkdir(path, 0o755) != nil {
		needtest.SkipAnywhere(t, "needs root, and cgroup version 2 that can be written")
	}
	t.Cleanup(func() {
		if err := unix.Rmdir(path); err != nil {
			t.Errorf("remove %s: %v", path, err)
		}
	})
	lock, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	return &State{Path: path, Own: own, Lock: d.Keep(lock)}, d
}

// noPeaks lends no descriptor.
func noPeaks(int) (int, error) { return -1, unix.EBADF }

// Services and leaves go over with what is in them. What nobody has claimed is removed, and
// only that.
func TestCarryCgroup(t *testing.T) {
	state, d := divided(t)
	old, _, err := Restore(state, d)
	if err != nil {
		t.Fatal(err)
	}
	service, err := old.Service("one", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var leaves []*Leaf
	for range 4 {
		leaf, err := service.Leaf(Limits{})
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leaf)
	}
	live := needtest.Program(t, "sleep")
	process := sleepIn(t, leaves[1], live)
	abandoned := sleepIn(t, leaves[3], live)
	leaves[1].start.cpuMicroseconds = 1

	d = carry.NewDescriptors()
	exported := old.Export([]string{"one", "another"}, d)
	leaf, lent, err := leaves[1].Export("one", noPeaks, d)
	if err != nil || lent != -1 {
		t.Fatal(lent, err)
	}
	again, taken := carrytest.Again(t, exported, d)
	next, services, err := Restore(again, taken)
	if err != nil {
		t.Fatal(err)
	}
	carrytest.Same(t, next.Export([]string{"one"}, carry.NewDescriptors()), exported)
	own := services["one"]
	restored, err := own.RestoreLeaf(&leaf, taken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.RestoreLeaf(&leaf, taken); err == nil {
		t.Error("a leaf has two owners")
	}
	if again, _, err := restored.Export("one", noPeaks, carry.NewDescriptors()); err != nil {
		t.Error(err)
	} else {
		carrytest.Same(t, again, leaf)
	}
	if left := taken.Untaken(); len(left) > 0 {
		t.Errorf("nobody has taken %v", left)
	}
	made, err := own.Leaf(Limits{}) // before it is known what is claimed
	if err != nil {
		t.Fatal(err)
	}
	if n, err := next.Prepare(nil); n != 0 || err != nil {
		t.Errorf("a service that went over is removed: %d, %v", n, err)
	}
	if err := own.RemoveUnclaimed(); err != nil {
		t.Fatal(err)
	}
	there, _ := filepath.Glob(own.directory.path + "/leaf-*")
	slices.Sort(there)
	if want := []string{restored.directory.path, made.directory.path}; !slices.Equal(there, want) {
		t.Errorf("there are %q, want %q", there, want)
	}
	if err := abandoned.Wait(); !wasKilled(err) {
		t.Errorf("who was in a leaf that nobody claims ends with %v", err)
	}
	if populated, err := restored.Populated(); !populated || err != nil {
		t.Errorf("the process that went over is gone: %v", err)
	}
	if r := result(t, restored); r.CPUTime < 0 {
		t.Errorf("it has used %v", r.CPUTime)
	}
	kill(t, restored)
	_ = process.Wait()
	for _, l := range []*Leaf{restored, made} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := own.Close(); err != nil {
		t.Error(err)
	}
	next.Close()
}

// A random state goes over as it is.
func TestCarryRandomCgroup(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := carry.NewDescriptors()
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"memory", "pids", "cpu"}), 1, 3)
		state := &State{Path: "/nowhere/at/all", Own: "/nowhere", Lock: d.Keep(notOpen), Controllers: words.Draw(r, "controllers")}
		names := []string{"a", "b/c", "ü"}[:rapid.IntRange(0, 3).Draw(r, "services")]
		for i, name := range names {
			state.Services = append(state.Services, ServiceState{name, d.Keep(notOpen + 1 + i), words.Draw(r, "of the service")})
		}
		again, taken := carrytest.Again(t, state, d)
		root, services, err := Restore(again, taken)
		if err != nil {
			t.Fatal(err)
		}
		carrytest.Same(t, root.Export(names, carry.NewDescriptors()), state)
		for i, name := range names {
			d := carry.NewDescriptors()
			leaf := &LeafState{Service: name, Name: fmt.Sprint("leaf-", rapid.IntRange(0, 1<<40).Draw(r, "leaf")), Controllers: words.Draw(r, "of the leaf"), Peak: carry.None}
			if rapid.Bool().Draw(r, "peak") {
				leaf.Peak = d.Keep(notOpen + 10 + i)
			}
			count := rapid.Uint64()
			leaf.Start = CountersState{count.Draw(r, "1"), count.Draw(r, "2"), count.Draw(r, "3"), count.Draw(r, "4"), count.Draw(r, "5"), count.Draw(r, "6"), count.Draw(r, "7")}
			again, taken := carrytest.Again(t, leaf, d)
			l, err := services[name].RestoreLeaf(again, taken)
			if err != nil {
				t.Fatal(err)
			}
			is, lent, err := l.Export(name, noPeaks, carry.NewDescriptors())
			if err != nil || lent != -1 {
				t.Fatal(lent, err)
			}
			carrytest.Same(t, &is, leaf)
		}
	})
}

// A descriptor of memory.peak that is parked is copied, and the copy is parked again.
func TestCarryPeak(t *testing.T) {
	s := &Service{park: func(f func()) { f() }}
	l := s.leaf("leaf-1", nil)
	l.peak, l.reset = 5, true
	d := carry.NewDescriptors()
	state, lent, err := l.Export("one", func(parked int) (int, error) { return parked + notOpen, nil }, d)
	if err != nil || lent != notOpen+5 || state.Peak != carry.FD(lent) {
		t.Fatalf("%+v, %d, %v", state, lent, err)
	}
	if _, _, err := l.Export("one", noPeaks, d); err == nil {
		t.Error("a descriptor cannot be copied, and there is no error")
	}
	again, taken := carrytest.Again(t, &state, d)
	restored, err := s.RestoreLeaf(again, taken)
	if err != nil {
		t.Fatal(err)
	}
	if err := restored.ParkPeak(noPeaks); err == nil || !restored.near {
		t.Errorf("%v, near: %v", err, restored.near)
	}
	if err := restored.ParkPeak(func(fd int) (int, error) { return fd - notOpen, nil }); err != nil || restored.near || restored.peak != 5 {
		t.Errorf("%v, it is %d", err, restored.peak)
	}
}

// notOpen is a number that no descriptor of the test has.
const notOpen = 1 << 24

// Any state is a Root or an error.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"path":"/a","own":"/a/b","lock":16777216,"controllers":["pids"],"services":[{"name":"one","directory":16777217,"controllers":[]}]}`), []byte(`{"service":"one","name":"leaf-1","controllers":["memory"],"peak":16777218,"start":{"oom_kills":1}}`))
	f.Add([]byte(`{"path":"a","lock":-1}`), []byte(`{"name":"leaf--1","peak":-1}`))
	f.Fuzz(func(t *testing.T, text, leaf []byte) {
		var s State
		var l LeafState
		if json.Unmarshal(text, &s) != nil || json.Unmarshal(leaf, &l) != nil {
			return
		}
		d := carry.NewDescriptors()
		for i := range 4 {
			d.Keep(notOpen + i)
		}
		root, services, err := Restore(&s, d)
		if err != nil {
			return
		}
		root.Export([]string{"one"}, carry.NewDescriptors())
		if own := services[l.Service]; own != nil {
			if restored, err := own.RestoreLeaf(&l, d); err == nil && filepath.Base(restored.directory.name) != restored.directory.name {
				t.Errorf("the leaf %q is elsewhere", restored.directory.name)
			}
		}
	})
}

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func everything() Limits {
	swap := uint64(1 << 20)
	return Limits{
		MemoryMax: 64 << 20, MemoryHigh: 32 << 20, MemorySwapMax: &swap,
		TasksMax: 7, CPUQuota: 150, CPUWeight: 50, IOWeight: 300,
	}
}

var (
	everyController = []string{"memory", "pids", "cpu", "io"}
	everyFile       = map[string]string{
		"memory.max": "67108864", "memory.high": "33554432", "memory.swap.max": "1048576",
		"pids.max": "7", "cpu.max": "150000 100000", "cpu.weight": "50", "io.weight": "default 300",
	}
	defaultFiles = map[string]string{
		"memory.max": "max", "memory.high": "max", "memory.swap.max": "max",
		"pids.max": "max", "cpu.max": "max 100000", "cpu.weight": "100", "io.weight": "default 100",
	}
)

func checkFiles(t *testing.T, d directory, want map[string]string) {
	t.Helper()
	for file, text := range want {
		if got := fileOf(t, d, file); got != text {
			t.Errorf("%s of %s is %q, want %q", file, filepath.Base(d.path), got, text)
		}
	}
}

// The kernel takes all limits, on both levels, and gives the defaults back.
func TestLimitsInKernel(t *testing.T) {
	s := newService(t, prepared(t, everyController...), everything())
	leaf := newLeaf(t, s, everything())
	checkFiles(t, s.directory, everyFile)
	checkFiles(t, leaf.directory, everyFile)
	if err := s.SetLimits(Limits{}); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, s.directory, defaultFiles)
	checkFiles(t, leaf.directory, everyFile)
	if err := s.SetLimits(Limits{CPUQuota: 1}); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, s.directory, map[string]string{"cpu.max": "1000 100000"})

	if err := s.SetLimits(Limits{CPUWeight: 10001}); err == nil || !strings.Contains(err.Error(), "cpu.weight") {
		t.Errorf("a weight that the kernel refuses: %v", err)
	}
	if _, err := s.Leaf(Limits{IOWeight: 10001}); err == nil || !strings.Contains(err.Error(), "io.weight") {
		t.Errorf("a weight that the kernel refuses: %v", err)
	}
	if s.directory.has("leaf-2") {
		t.Error("a leaf is there whose limits were refused")
	}
}

// A service has one cgroup at a time. A controller that Prepare is told of later is
// there for its next leaf.
func TestServiceOnce(t *testing.T) {
	root := prepared(t, "pids")
	s := newService(t, root, Limits{})
	if _, err := root.Service(t.Name(), Limits{}); err == nil {
		t.Error("a second cgroup of the same service")
	}
	if _, err := s.Leaf(Limits{MemoryMax: 1 << 26}); err == nil {
		t.Error("a limit of memory without the controller")
	}
	old := newLeaf(t, s, Limits{})
	if _, err := root.Prepare([]string{"memory"}); err != nil {
		t.Fatal(err)
	}
	leaf := newLeaf(t, s, Limits{MemoryMax: 1 << 26})
	checkFiles(t, leaf.directory, map[string]string{"memory.max": "67108864"})
	for _, l := range []*Leaf{old, leaf} {
		if _, err := runIn(t, l, "exit 0"); err != nil {
			t.Error(err)
		}
		if r := result(t, l); (r.MemoryPeak > 0) != (l == leaf) {
			t.Errorf("%s: %+v", l.directory.name, r)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := root.Service(t.Name(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// fakeCgroup makes a directory with files that have the kernel's defaults, without some.
func fakeCgroup(t *testing.T, without ...string) directory {
	t.Helper()
	dir := t.TempDir()
	for file, text := range defaultFiles {
		if !slices.Contains(without, file) {
			writeFake(t, filepath.Join(dir, file), text+"\n")
		}
	}
	writeFake(t, filepath.Join(dir, "cgroup.procs"), "")
	return absolute(dir)
}

func writeFake(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestControllersOfLimits(t *testing.T) {
	zero := uint64(0)
	for _, test := range []struct {
		limits Limits
		want   []string
	}{
		{Limits{}, nil},
		{Limits{MemoryHigh: 1, MemoryMax: 1}, []string{"memory"}},
		{Limits{MemorySwapMax: &zero}, []string{"memory"}},
		{Limits{TasksMax: 1}, []string{"pids"}},
		{Limits{CPUWeight: 1}, []string{"cpu"}},
		{everything(), everyController},
	} {
		if got := test.limits.Controllers(); !slices.Equal(got, test.want) {
			t.Errorf("%+v needs %q, want %q", test.limits, got, test.want)
		}
	}
}

// A limit whose file is missing is an error with a remedy. A default is none.
func TestMissingFiles(t *testing.T) {
	for file, want := range map[string]string{
		"memory.swap.max": "swapaccount=1",
		"io.weight":       "CONFIG_BLK_CGROUP_IOCOST",
		"memory.high":     "a newer kernel",
	} {
		d := fakeCgroup(t, file)
		err := everything().apply(d, everyController, false)
		missing, ok := errors.AsType[*MissingError](err)
		if !ok || !strings.Contains(missing.Missing, file) || !strings.Contains(missing.Remedy, want) {
			t.Errorf("without %s: %v", file, err)
		}
		if err := (Limits{}).apply(d, everyController, true); err != nil {
			t.Errorf("defaults without %s: %v", file, err)
		}
	}
	// A cgroup that is not there has not only lost a file.
	err := everything().apply(absolute(filepath.Join(t.TempDir(), "gone")), everyController, false)
	if _, ok := errors.AsType[*MissingError](err); ok || err == nil {
		t.Errorf("of a cgroup that is not there: %v", err)
	}
	err = Limits{TasksMax: 1}.apply(fakeCgroup(t), []string{"memory"}, false)
	if err == nil || !strings.Contains(err.Error(), "controller pids") {
		t.Errorf("without the controller: %v", err)
	}
}

func TestDirectoryName(t *testing.T) {
	long := strings.Repeat("x", 300)
	seen := map[string]string{}
	for service, want := range map[string]string{
		"echo":            "service-echo",
		"a.b_c-9":         "service-a.b_c-9",
		"..":              "service-..",
		"../../etc":       "service-..%2F..%2Fetc",
		"a b\n%":          "service-a%20b%0A%25",
		"ü":               "service-%C3%BC",
		"":                "service-",
		long:              "",
		long + "y":        "",
		long[:200]:        "service-" + long[:200],
		long[:201]:        "",
		long[:199] + "\n": "",
		"a%20b":           "service-a%2520b",
	} {
		got := directoryName(service)
		if want != "" && got != want {
			t.Errorf("%q has the directory %q, want %q", service, got, want)
		}
		if len(got) > 255 || strings.ContainsAny(got, "/\n") || !strings.HasPrefix(got, servicePrefix) {
			t.Errorf("%q has the directory %q", service, got)
		}
		if other, found := seen[got]; found {
			t.Errorf("%q and %q have the same directory %q", service, other, got)
		}
		seen[got] = service
	}
}

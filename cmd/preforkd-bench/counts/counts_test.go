package counts

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/ipc/needtest"
)

func TestMain(m *testing.M) {
	if fault := os.Getenv(asDouble); fault != "" {
		fmt.Fprintln(os.Stderr, double(faults[fault], os.Args[1], os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// doubleWith is a server that stands in for preforkd and has a fault.
func doubleWith(fault string) Subject {
	return Subject{Name: "double", Done: "is over", Metrics: true, Args: func(port, metrics int) []string {
		return []string{"env", asDouble + "=" + fault, os.Args[0], strconv.Itoa(port), strconv.Itoa(metrics)}
	}}
}

// What a change makes the master do more for each connection is found, by the
// count that it belongs to; and the same build passes.
func TestEveryFaultIsFound(t *testing.T) {
	needtest.Program(t, "strace")
	children, err := proc.Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	b := &Bench{Children: children, Dir: t.TempDir(), Load: Load{Warm: 10, Count: 100, Traced: 20, Idle: 200 * time.Millisecond}}
	var samples []Counts
	for range 3 {
		c, err := b.Count(t.Context(), doubleWith("none"), Conditions{})
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, c)
	}
	recorded := NewRecorded()
	recorded.Set("double", samples)
	for fault, names := range map[string][]string{
		"none":               nil,
		"a system call":      {"calls getppid"},
		"a call more of one": {"calls close", "calls socket"},
		"a descriptor":       {Descriptors, "calls dup"},
		"a goroutine":        {Goroutines},
		"a thread":           {Threads},
		"a line of log":      {LogBytes, "calls write"},
		"allocations":        {Allocations, AllocatedBytes},
		"memory":             {PageFaults, AllocatedBytes},
	} {
		t.Run(fault, func(t *testing.T) {
			attempts := 1
			if fault == "none" {
				attempts = 3
			}
			counted, above, err := b.Check(t.Context(), doubleWith(fault), Conditions{}, recorded, attempts)
			if err != nil {
				t.Fatal(err)
			}
			if fault == "none" && len(above) > 0 {
				t.Errorf("the build that was recorded is above its limits: %v", above)
			}
			for _, name := range names {
				if !slices.ContainsFunc(above, func(e Excess) bool { return e.Name == name }) {
					t.Errorf("%s is %v, which was not found; found was %v; recorded is %v", name, counted[name], above, recorded.Subjects["double"][name])
				}
			}
		})
	}
	if len(faults) != 9 {
		t.Errorf("%d faults, and not each is tried", len(faults))
	}
}

func TestParse(t *testing.T) {
	const text = `10 accept4(4<TCP:[127.0.0.1:7]>, NULL, NULL, SOCK_CLOEXEC) = 5<TCP:[1]>
11 futex(0xc000, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
10 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>
12 dup3(5<TCP:[1]>, 0, 0) = 0<TCP:[1]>
11 <... futex resumed>) = 0
12 execve("", [], 0x0 /* 0 vars */ <unfinished ...>
10 <... clone resumed>) = 12
10 --- SIGCHLD {si_signo=SIGCHLD} ---
10 clone(child_stack=0x1, flags=CLONE_VM|CLONE_THREAD, tls=0x2) = 13
13 close(5<TCP:[1]>) = 0
11 clone(child_stack=0x1, flags=CLONE_VM|CLONE_THREAD, tls=0x2 <unfinished ...>
13 write(6<anon_inode:[eventfd]>, ""..., 8) = 8
11 <... clone resumed>) = 14
14 write(2</tmp/log>, ""..., 80) = 80
14 +++ exited with 0 +++
`
	threads := map[int]bool{10: true, 11: true}
	got, err := parse(strings.NewReader(text), threads)
	want := Counts{
		"calls accept4": 1, "calls clone": 1, "calls close": 1, "calls write": 1,
		RuntimeCall: 4, // futex, two threads, one wake-up
	}
	if err != nil || !maps.Equal(got.calls, want) || got.children != 1 || got.inChild != 2 {
		t.Errorf("got %+v, %v; want %v and dup3 and execve in a child", got, err, want)
	}
	// One child for two connections is a child's calls; one now and then is not.
	if c := got.counts(2); c[ChildCall] != 2 || c["calls close"] != 0.5 {
		t.Errorf("for two connections: %v", c)
	}
	if c := got.counts(20); c[ChildCall] != 0 {
		t.Errorf("for twenty connections: %v", c)
	}
	for _, bad := range []string{"strace: what\n", "10 nonsense\n"} {
		if _, err := parse(strings.NewReader(bad), threads); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		count  string
		values []float64
		want   Limit
	}{
		"the same each time": {"calls close", []float64{5, 5, 5}, Limit{5, 5.25}},
		"a spread":           {"calls read", []float64{2, 4, 3}, Limit{3, 5}},
		"one":                {Descriptors, []float64{0}, Limit{0, 0.03}},
		"a part":             {LogBytes, []float64{400, 400}, Limit{400, 408}},
	} {
		if got := limitOf(c.count, c.values); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// One call more in each connection is above the limit of a call by name.
func TestOneMoreIsAboveTheLimit(t *testing.T) {
	r := NewRecorded()
	plain := Counts{"calls close": 5, ChildCall: 60, LogBytes: 420, Descriptors: 0, Goroutines: 0}
	r.Set("s", []Counts{plain, plain})
	if found, err := r.Excesses("s", plain); len(found) > 0 || err != nil {
		t.Errorf("what was recorded: %v, %v", found, err)
	}
	for name, more := range map[string]float64{
		"calls close": 1, "calls never_seen": 1, ChildCall: 1, LogBytes: 30, Descriptors: 0.1, Goroutines: 0.1,
	} {
		c := maps.Clone(plain)
		c[name] += more
		found, err := r.Excesses("s", c)
		if err != nil || len(found) != 1 || found[0].Name != name {
			t.Errorf("%v more of %s: %v, %v", more, name, found, err)
		}
	}
	less := maps.Clone(plain)
	less["calls close"], less[LogBytes] = 3, 100
	if found, err := r.Excesses("s", less); len(found) > 0 || err != nil {
		t.Errorf("less: %v, %v", found, err)
	}
}

// What was not counted must not pass.
func TestWhatWasNotCountedFails(t *testing.T) {
	r := NewRecorded()
	r.Set("s", []Counts{{LogBytes: 1, "calls close": 1}})
	if _, err := r.Excesses("s", Counts{"calls close": 1}); err == nil {
		t.Error("counts without the bytes of log passed")
	}
	if _, err := r.Excesses("t", Counts{LogBytes: 1}); err == nil {
		t.Error("a subject that was never recorded passed")
	}
	r.PageSize *= 4
	if err := r.Here(); err == nil {
		t.Error("counts of a machine with other pages were accepted")
	}
}

func TestRecordedSurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts.json")
	want := NewRecorded()
	want.Set("s", []Counts{{"calls close": 5, LogBytes: 420}})
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", `{"format": 99}`, `{"format": 1, "subjects": {"s": {"calls close": "many"}}}`} {
		if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A look at all processes has this one, its parent, and a child of it that has
// ended, whatever the name of its program is.
func TestReadTable(t *testing.T) {
	program := filepath.Join(t.TempDir(), "a) Z (b")
	if err := os.Symlink("/bin/true", program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	slowtest.Await(t, "the child has ended", func() bool {
		processes, err := readTable()
		if err != nil {
			t.Fatal(err)
		}
		if parent := processes[os.Getpid()].parent; parent != os.Getppid() {
			t.Fatalf("the parent is %d, want %d", parent, os.Getppid())
		}
		s, there := processes[pid]
		if !there || s.parent != os.Getpid() {
			t.Fatalf("the child is %+v, %v", s, there)
		}
		return s.zombie
	})
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if processes, _ := readTable(); processes[pid].zombie {
		t.Error("the child was reaped and is still there")
	}
}

func TestDescendants(t *testing.T) {
	processes := table{1: {}, 10: {parent: 1}, 11: {parent: 10}, 12: {parent: 11}, 20: {parent: 1}}
	if got := processes.descendants(10); len(got) != 2 || got[0] != 11 || got[1] != 12 {
		t.Errorf("below 10: %v, want 11 and 12", got)
	}
	if got := processes.descendants(20); len(got) != 0 {
		t.Errorf("below 20: %v, want none", got)
	}
}

// Work that this process does is in the machine's time.
func TestMachineBusy(t *testing.T) {
	before, err := machineBusy()
	if err != nil {
		t.Fatal(err)
	}
	for start := clock(os.Getpid()); clock(os.Getpid())-start < 100*time.Millisecond; {
	}
	// The kernel counts in ticks, of each processor.
	if after, err := machineBusy(); err != nil || after-before < 50*time.Millisecond {
		t.Errorf("the machine was busy for %v, %v", after-before, err)
	}
}

func TestAvailableMemory(t *testing.T) {
	if n, err := AvailableMemory(); err != nil || n < 1<<20 {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func TestListensLooksAtListenersOnly(t *testing.T) {
	const head = "  sl  local_address rem_address   st\n"
	listener := "   0: 0100007F:1F90 00000000:0000 0A\n"
	connection := "   1: 0100007F:1F91 0100007F:9000 06\n"
	for name, c := range map[string]struct {
		table string
		port  int
		want  bool
	}{
		"listener":          {head + listener + connection, 0x1F90, true},
		"connection":        {head + listener + connection, 0x1F91, false},
		"other port":        {head + listener, 0x1F92, false},
		"behind connection": {head + connection + listener, 0x1F90, false}, // the kernel never does that
	} {
		got, err := listens(strings.NewReader(c.table), c.port)
		if got != c.want || err != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

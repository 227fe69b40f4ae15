package proc

import (
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// The name of a program can hold anything.
	line := "4711 (a) b (c) S 12 4711 4711 0 -1 4194560 500 900 0 0 7 8 150 25 20 0 1 0 99 1000 10 0\n"
	s, err := parseStat([]byte(line))
	want := stat{pid: 4711, parent: 12, state: 'S', reaped: 1750 * time.Millisecond}
	if err != nil || s != want {
		t.Errorf("got %+v, %v; want %+v", s, err, want)
	}
	for _, bad := range []string{"", "12", "12 (x", "12 (x) S 1", strings.Replace(line, " 150 ", " many ", 1)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
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

func TestParseBusy(t *testing.T) {
	// user nice system idle iowait irq softirq steal
	got, err := parseBusy([]byte("cpu  100 10 50 9999 77 3 2 88 0 0\ncpu0 1\n"))
	if err != nil || got != 1650*time.Millisecond {
		t.Errorf("got %v, %v; want 1.65s", got, err)
	}
	if _, err := parseBusy([]byte("intr 5\n")); err == nil {
		t.Error("a strange first line was accepted")
	}
}

func TestKilobytes(t *testing.T) {
	content := []byte("00400000-7fff rollup\nPss_Dirty:   7 kB\nPss:       123 kB\n")
	if n, err := kilobytes(content, "Pss:"); n != 123<<10 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	for _, bad := range []string{"", "Pss: many kB\n", "Pss: 1 MB\n"} {
		if _, err := kilobytes([]byte(bad), "Pss:"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
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

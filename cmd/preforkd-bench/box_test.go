package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/ipc/needtest"
)

// Boxes are measured with a real master, beside the same program without one. What
// was made for them outside of the run's own directory is gone afterwards.
func TestBoxes(t *testing.T) {
	needtest.Program(t, "gcc")
	if os.Geteuid() != 0 {
		needtest.Skip(t, "only root can have a strict box")
	}
	visible := func() []string {
		found, err := filepath.Glob("/var/lib/preforkd-bench-*")
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	before := visible()
	file := filepath.Join(t.TempDir(), "results.json")
	cmd, tmp := bench(t, "--short", "--scenarios", "box,boxes", "--servers", "preforkd-stdio,preforkd-basic,preforkd-strict,preforkd-strict-tmp",
		"--rounds", "1", "--duration", "50ms", "--json", file)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	empty(t, tmp)
	if left := visible(); len(left) > len(before) {
		t.Errorf("left behind: %v", left)
	}
	record, err := loadRun(file)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string][]result.Metric{
		"box":   {result.LatencyP50, result.Rate, result.CPU, result.CPUBusy, result.LatencyPaced, result.StartTime},
		"boxes": {result.CPUGrowth, result.CPUFew, result.CPUMany},
	}
	for _, c := range []struct{ scenario, name string }{
		{"box", "preforkd-stdio"}, {"box", "preforkd-basic"}, {"box", "preforkd-strict"}, {"box", "preforkd-strict-tmp"},
		{"boxes", "preforkd-stdio"}, {"boxes", "preforkd-strict"},
	} {
		if failed := record.Errors(c.scenario, c.name); len(failed) > 0 {
			t.Errorf("%s in %s: %v", c.name, c.scenario, failed)
		}
		for _, m := range of[c.scenario] {
			if s := record.Summary(c.scenario, c.name, m); !(s.Median > 0) {
				t.Errorf("%s of %s in %s is %v", m, c.name, c.scenario, s.Median)
			}
		}
	}
	if s := record.Summary("box", "preforkd-strict", result.StartMore); s.N != 1 {
		t.Errorf("how much later a box answers was measured %d times", s.N)
	}
	if s := record.Summary("boxes", "preforkd-basic", result.CPUGrowth); s.N != 0 {
		t.Error("preforkd-basic has taken part in boxes")
	}
}

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/ipc/needtest"
)

// The scenarios with rows of their own measure a real master. What the machine
// does not have is one line.
func TestServicesAndRefusals(t *testing.T) {
	needtest.Program(t, "gcc")
	file := filepath.Join(t.TempDir(), "results.json")
	cmd, tmp := bench(t, "--short", "--scenarios", "services,refusals", "--servers", "fork-c", "--services", "1,3,1000",
		"--rounds", "1", "--duration", "50ms", "--json", file)
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 600; exec "$0" "$@"`}, cmd.Args...)
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = path
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	empty(t, tmp)
	record, err := loadRun(file)
	if err != nil {
		t.Fatal(err)
	}
	flood := []result.Metric{result.RefusedRate, result.CPURefused, result.Refused, result.StartTime, result.MemoryRules}
	client := []result.Metric{result.FloodRate, result.LatencyP50, result.LatencyP99, result.FloodP50, result.FloodP99, result.FloodP99Growth}
	for _, c := range []struct {
		scenario, name string
		metrics        []result.Metric
	}{
		{"services", "preforkd-1", []result.Metric{result.StartTime, result.ReloadTime, result.Threads, result.CPUMaster, result.LatencyP99}},
		{"services", "preforkd-3", []result.Metric{result.StartTime, result.ReloadTime, result.Threads, result.CPUMaster, result.LatencyP99}},
		{"refusals", "baseline-refuse", flood},
		{"refusals", "preforkd-rules", append(client, flood...)},
		{"refusals", "preforkd-sources", append(client, flood...)},
	} {
		if failed := record.Errors(c.scenario, c.name); len(failed) > 0 {
			t.Errorf("%s in %s: %v", c.name, c.scenario, failed)
		}
		for _, m := range c.metrics {
			if s := record.Summary(c.scenario, c.name, m); !(s.Median > 0) {
				t.Errorf("%s of %s in %s is %v", m, c.name, c.scenario, s.Median)
			}
		}
	}
	if n := record.Summary("refusals", "preforkd-rules", result.Refused).Median; n != 10000 {
		t.Errorf("%v connections were refused, want one from each of 10000 sources", n)
	}
	if want := "\n  preforkd-1000: left out: 1000 services need as many open files, and the limit is 600 here (ulimit -Hn)\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is missing in\n%s", want, out.String())
	}
}

// A master that cannot have so many services ends, and that is its result.
func TestServicesOfAMasterThatFails(t *testing.T) {
	needtest.Program(t, "gcc")
	program := filepath.Join(t.TempDir(), "preforkd")
	script := `#!/bin/sh
case "$1 $2" in
"serve --config") echo "runtime: program exceeds 10000-thread limit"; echo "goroutine 1 [running]:"; exit 2 ;;
version*) echo preforkd test ;;
esac
`
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd, tmp := bench(t, "--scenarios", "services", "--servers", "fork-c", "--services", "2", "--rounds", "1", "--preforkd", program)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	empty(t, tmp)
	want := `1 start preforkd: it ended by itself: it printed "runtime: program exceeds 10000-thread limit"`
	if !strings.Contains(string(out), want) {
		t.Errorf("%q is missing in\n%s", want, out)
	}
}

package machinetest

import (
	"slices"
	"strings"
	"testing"
)

// What is missing is named, with what has it.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := missing()
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("without any program: %v", err)
	}
	if asRoot := !strings.Contains(err.Error(), "root"); asRoot && !strings.Contains(err.Error(), "(Debian package debootstrap)") {
		t.Errorf("without any program: %v", err)
	}
}

func TestArguments(t *testing.T) {
	got := arguments("TestA/of b+c")[0]
	if want := `-test.run=^TestA$/^of b\+c$`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		name   string
		output []string
		want   outcome
	}{
		{"passed", []string{"=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n"}, outcome{passed: true}},
		{"in pieces", []string{"=== RUN   TestA\n--- PA", "SS: TestA (0.00s)\nPASS\n"}, outcome{passed: true}},
		{"skipped", []string{"    a_test.go:7: no luck\n--- SKIP: TestA (0.00s)\nPASS\n"}, outcome{skipped: true, reason: "a_test.go:7: no luck"}},
		{"failed", []string{"--- FAIL: TestA (0.00s)\nFAIL\n"}, outcome{failed: true}},
		{"another one", []string{"--- PASS: TestAB (0.00s)\n    --- SKIP: TestA/b (0.00s)\n"}, outcome{}},
		{"none", []string{"testing: warning: no tests to run\nPASS\n"}, outcome{}},
	} {
		o := outcome{name: "TestA"}
		for _, piece := range c.output {
			o.read([]byte(piece))
		}
		if o.passed != c.want.passed || o.failed != c.want.failed || o.skipped != c.want.skipped {
			t.Errorf("%s: %+v, want %+v", c.name, o, c.want)
		}
		if c.want.skipped && o.reason != c.want.reason {
			t.Errorf("%s: the reason is %q, want %q", c.name, o.reason, c.want.reason)
		}
	}
}

func TestPassedOn(t *testing.T) {
	t.Setenv("CI", "true")
	if got := passedOn(); !slices.Contains(got, "CI=true") {
		t.Errorf("passed on are %q", got)
	}
}

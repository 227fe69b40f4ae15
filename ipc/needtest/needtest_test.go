package needtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asNeedy makes this test need a program that no machine has.
const asNeedy = "PREFORKD_TEST_NEEDY"

func TestNeedy(t *testing.T) {
	if os.Getenv(asNeedy) != "" {
		Program(t, "no-such-program")
		return
	}
	skipped := filepath.Join(t.TempDir(), "skipped")
	for ci, want := range map[string]string{"true": "--- FAIL: TestNeedy", "": "--- SKIP: TestNeedy"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNeedy$", "-test.v")
		cmd.Env = append(os.Environ(), asNeedy+"=1", "CI="+ci, EnvSkipped+"="+skipped)
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), want) || !strings.Contains(string(out), "needs the program no-such-program") || (err != nil) != (ci == "true") {
			t.Errorf("with CI=%q: %v\n%s\nwant %s", ci, err, out, want)
		}
	}
	// The test that failed instead was not skipped.
	if lines, err := os.ReadFile(skipped); string(lines) != "TestNeedy\tneeds the program no-such-program\n" {
		t.Errorf("%v, noted: %q", err, lines)
	}
	if got := Program(t, "sh"); !strings.HasSuffix(got, "/sh") {
		t.Errorf("sh is at %q", got)
	}
}

// A reason is one line, whatever a program has said.
func TestReasonIsALine(t *testing.T) {
	if got := oneLine("\nno right\nto do so\n"); got != "no right; to do so" {
		t.Errorf("it is %q", got)
	}
}

package needtest

import (
	"os"
	"os/exec"
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
	for ci, want := range map[string]string{"true": "--- FAIL: TestNeedy", "": "--- SKIP: TestNeedy"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNeedy$", "-test.v")
		cmd.Env = append(os.Environ(), asNeedy+"=1", "CI="+ci)
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), want) || !strings.Contains(string(out), "needs the program no-such-program") || (err != nil) != (ci == "true") {
			t.Errorf("with CI=%q: %v\n%s\nwant %s", ci, err, out, want)
		}
	}
	if got := Program(t, "sh"); !strings.HasSuffix(got, "/sh") {
		t.Errorf("sh is at %q", got)
	}
}

package machinetest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// skipped finds the reason why a test of a package was skipped.
var skipped = regexp.MustCompile(`(?m)^ +\S+_test\.go:\d+: (.*)\n(?: +)?--- SKIP: `)

// TestPackages runs the tests of packages that stand on the kernel. In the machine they
// have what the one that builds preforkd may lack: none is skipped for want of it.
func TestPackages(t *testing.T) {
	Run(t, func(t *testing.T) {
		for _, name := range packages() {
			t.Run(name, func(t *testing.T) {
				// A group of its own, as the master of a unit has.
				out := run(t, "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=Delegate=yes", "--setenv=HOME=/root",
					"/opt/"+packageTest(name), "-test.v", fmt.Sprintf("-test.short=%t", testing.Short()))
				passed := strings.Count(out, "--- PASS: ")
				if passed == 0 {
					t.Errorf("no test has passed:\n%s", out)
				}
				for _, reason := range skipped.FindAllStringSubmatch(out, -1) {
					t.Logf("skipped: %s", reason[1])
					for _, here := range []string{"cgroup", "Landlock", "landlock"} {
						if strings.Contains(reason[1], here) {
							t.Errorf("the machine has it, and a test is skipped: %s", reason[1])
						}
					}
				}
				t.Logf("%d tests have passed", passed)
			})
		}
	})
}

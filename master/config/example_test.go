package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The example in deploy is valid and has every key. For keys that are commented
// out it shows the true defaults.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("../../deploy/preforkd.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, path, _ := strings.Cut(worker(t), "\n")
	text := strings.Replace(string(data), "[master]\n", "[master]\n"+path, 1)
	example, err := Parse("preforkd.toml", []byte(text), Run{})
	if err != nil {
		t.Fatal(err)
	}
	// Uncommented, all but what the test has put in itself, and what shows a
	// key of which the other one is there.
	commented := regexp.MustCompile(`(?m)^#([a-z0-9-]+ += )`)
	text = strings.Replace(text, "#worker-binary", "# worker-binary", 1)
	text = strings.Replace(text, "#program =", "# program =", 1)
	text = strings.Replace(text, "#idle-timeout              =", "# idle-timeout =", 1)
	text = strings.Replace(text, "#max-lifetime              =", "# max-lifetime =", 1)
	for _, key := range []string{"runtime-max", "require"} { // max-lifetime and optional are there
		text = strings.Replace(text, "#"+key, "# "+key, 1)
	}
	full := commented.ReplaceAllString(text, "$1")
	uncommented, err := Parse("preforkd.toml", []byte(full), Run{})
	if err != nil {
		t.Fatal(err)
	}
	zero := 0
	example.Services[1].Rules[0].BurstPerSource = &zero
	if diff := cmp.Diff(example, uncommented, sameConfig...); diff != "" {
		t.Errorf("defaults that are none (-default +shown):\n%s", diff)
	}
	has := func(names []string) {
		for _, name := range names {
			if !regexp.MustCompile(`(?m)(^#?|")` + name + ` += `).MatchString(string(data)) {
				t.Errorf("%s is missing", name)
			}
		}
	}
	has(names(masterKeys))
	has(names(serviceKeys))
	has(names(boxKeys))
	has(names(ruleKeys))
}

func names[T any](keys []key[T]) (names []string) {
	for _, k := range keys {
		names = append(names, k.name)
	}
	return names
}

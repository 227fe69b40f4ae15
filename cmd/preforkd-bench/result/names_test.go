package result_test

import (
	"slices"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/scenario"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

func TestTargetsNameWhatExists(t *testing.T) {
	for _, g := range slices.Concat(result.Targets, result.Bounds) {
		if _, err := scenario.Select([]string{g.Scenario}); err != nil {
			t.Errorf("%v: %v", g, err)
		}
		for _, name := range []string{g.Server, g.Peer} {
			if name == "" {
				continue
			}
			definitions, err := server.Select([]string{name})
			if err != nil {
				t.Errorf("%v: %v", g, err)
			} else if reason := definitions[0].Except[g.Scenario]; reason != "" {
				t.Errorf("%v: %s is left out: %s", g, name, reason)
			}
		}
	}
}

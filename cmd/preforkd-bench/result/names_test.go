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
		scenarios, err := scenario.Select([]string{g.Scenario})
		if err != nil {
			t.Errorf("%v: %v", g, err)
			continue
		}
		plan := scenario.Full()
		rows := scenarios[0].Rows(&plan)
		for _, name := range []string{g.Server, g.Peer} {
			if name == "" || slices.Contains(rows, name) {
				continue
			}
			definitions, err := server.Select([]string{name})
			if err != nil {
				t.Errorf("%v: %v", g, err)
			} else if !scenarios[0].Has(definitions[0]) {
				t.Errorf("%v: %s takes no part in that", g, name)
			} else if reason := definitions[0].Except[g.Scenario]; reason != "" {
				t.Errorf("%v: %s is left out: %s", g, name, reason)
			}
		}
	}
}

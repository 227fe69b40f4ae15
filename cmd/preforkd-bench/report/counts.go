package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/counts"
)

// Counts is a table of what was counted of a subject, beside what was recorded.
func Counts(subject string, counted counts.Counts, limits map[string]counts.Limit) string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s: what the master does for a connection\n", subject)
	rows := [][]string{{"", "counted", "recorded", "at most", ""}}
	seen := maps.Clone(counted)
	for name := range limits {
		if _, ok := seen[name]; !ok {
			seen[name] = 0
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		recorded, most, state := "-", "-", ""
		if l, ok := limits[name]; ok {
			recorded, most = number(l.Value), number(l.Most)
			if seen[name] > l.Most {
				state = "above"
			}
		}
		rows = append(rows, []string{name, number(seen[name]), recorded, most, state})
	}
	columns(&w, rows)
	return w.String()
}

package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// number formats a value with three significant digits and no exponent.
func number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// value formats one metric of a table; CPU time becomes seconds per thousand
// connections.
func value(m result.Metric, v float64) string {
	switch {
	case m == result.Served || m == result.Lost:
		return fmt.Sprintf("%.0f", v)
	case m.PerThousand():
		return number(v / 1000)
	default:
		return number(v)
	}
}

// spread formats a median with the range of the quartiles.
func spread(m result.Metric, s result.Summary) string {
	switch {
	case s.N == 0:
		return "-"
	case s.N == 1 || m == result.Served || m == result.Lost:
		return value(m, s.Median)
	default:
		return fmt.Sprintf("%s [%s-%s]", value(m, s.Median), value(m, s.Low), value(m, s.High))
	}
}

// failures formats counted errors, the most frequent first.
func failures(errors map[string]int) string {
	var kinds []string
	for kind := range errors {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b string) int {
		if errors[a] != errors[b] {
			return errors[b] - errors[a]
		}
		return strings.Compare(a, b)
	})
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", errors[kind], kind)
	}
	return strings.Join(kinds, ", ")
}

// columns writes rows with aligned columns, the first to the left and all
// others to the right. The last column, free text, is not aligned.
func columns(w *strings.Builder, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			switch i {
			case 0:
				fmt.Fprintf(&line, "  %-*s", widths[i], cell)
			case len(row) - 1:
				fmt.Fprintf(&line, "  %s", cell)
			default:
				fmt.Fprintf(&line, "  %*s", widths[i], cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

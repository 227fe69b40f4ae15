package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggestion returns the end of a message about an unknown name: the allowed
// one that was probably meant, or all that are allowed.
func suggestion(found string, allowed []string) string {
	// A third of the letters may be wrong: enough for a slip in any word, too
	// few to turn one word into another.
	limit := max(1, len(found)/3)
	best, bestDistance := "", limit+1
	for _, name := range allowed {
		if d := distance(strings.ToLower(found), name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	sorted := slices.Sorted(slices.Values(allowed))
	return "allowed are " + strings.Join(sorted, ", ")
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to turn one word into the other (optimal string alignment).
func distance(a, b string) int {
	const longest = 64 // no name is longer, and the work grows with the square
	if len(a) > longest || len(b) > longest {
		return longest
	}
	previous, current := make([]int, len(b)+1), make([]int, len(b)+1)
	var before []int
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j+1]+1, current[j]+1, previous[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				current[j+1] = min(current[j+1], before[j-1]+1)
			}
		}
		before, previous, current = previous, current, make([]int, len(b)+1)
	}
	return previous[len(b)]
}

package spelling

import "strings"

// longest is the length of the longest word that is compared, in bytes. No name is
// longer, and the cost grows with the square of the length.
const longest = 64

// Nearest returns the allowed word that is nearest to the found one, or "" when none is
// near. Allowed words are in lower case, and the case of the found word is ignored.
func Nearest(found string, allowed []string) string {
	if len(found) > longest {
		return ""
	}
	// A third of the letters may be wrong. That is enough for a typing error in
	// any word, and too few to turn one word into another.
	limit := max(1, len(found)/3)
	best, bestDistance := "", limit+1
	for _, word := range allowed {
		// The difference of the lengths is the least that the distance can be.
		if max(len(word)-len(found), len(found)-len(word)) >= bestDistance {
			continue
		}
		if d := distance(strings.ToLower(found), word); d < bestDistance {
			best, bestDistance = word, d
		}
	}
	return best
}

// distance returns how many changes turn one word into the other (optimal
// string alignment). A change inserts, deletes or replaces a letter, or swaps
// two neighbours.
func distance(a, b string) int {
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

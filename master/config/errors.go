package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Position is a place in a configuration file. Flags and defaults have the
// zero Position.
type Position struct {
	File   string
	Line   int // from 1
	Column int // in bytes, from 1
}

// IsValid reports whether the position is in a file.
func (p Position) IsValid() bool { return p.Line > 0 }

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// A Mistake is one error in a configuration. It tells the person who wrote the
// configuration in one line what was found and what is allowed.
type Mistake struct {
	At   Position
	Text string
}

func (m Mistake) Error() string {
	if !m.At.IsValid() {
		return m.Text
	}
	return m.At.String() + ": " + m.Text
}

// Mistakes holds all errors in a configuration, in the order of the file. As an
// error it is never empty.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single errors.
func (m Mistakes) Unwrap() []error {
	errs := make([]error, len(m))
	for i, mistake := range m {
		errs[i] = mistake
	}
	return errs
}

func (m *Mistakes) add(at Position, format string, args ...any) {
	*m = append(*m, Mistake{at, fmt.Sprintf(format, args...)})
}

// err returns the errors as one, or nil when there are none.
func (m Mistakes) err() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
	return m
}

// suggestion returns the end of a message about an unknown name. It is the
// allowed name that the person probably meant, or all allowed names.
func suggestion(found string, allowed []string) string {
	// A third of the letters may be wrong. That is enough for a typing error in
	// any word, and too few to turn one word into another.
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

// distance returns how many changes turn one word into the other (optimal
// string alignment). A change inserts, deletes or replaces a letter, or swaps
// two neighbours.
func distance(a, b string) int {
	const longest = 64 // no name is longer, and the cost grows with the square of the length
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

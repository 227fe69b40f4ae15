package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Position is a place in a configuration file. The zero Position belongs to
// what was not written in one: flags and defaults.
type Position struct {
	File   string
	Line   int // from 1
	Column int // in bytes, from 1
}

// IsValid reports whether the position is one in a file.
func (p Position) IsValid() bool { return p.Line > 0 }

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// A Mistake is one thing that is wrong with a configuration, worded for the
// person who wrote it: what was found and what is allowed, in one line.
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

// Mistakes is all that is wrong with a configuration, in the order of the
// file. It is never an empty error.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes one by one.
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

// err returns the mistakes as an error, or nil when there are none.
func (m Mistakes) err() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
	return m
}

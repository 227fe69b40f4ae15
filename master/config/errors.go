package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/spelling"
)

// A Position is a place in a configuration file. Flags and defaults have the
// zero Position.
type Position struct {
	File   string
	Line   int // from 1
	Column int // in characters, from 1
}

// IsValid reports whether the position is in a file.
func (p Position) IsValid() bool { return p.Line > 0 }

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// A ConfigError is one error in a configuration. It tells the person who wrote
// the configuration in one line what was found and what is allowed.
type ConfigError struct {
	At   Position
	Text string
}

func (m ConfigError) Error() string {
	if !m.At.IsValid() {
		return m.Text
	}
	return m.At.String() + ": " + m.Text
}

// ConfigErrors holds all errors in a configuration, in the order of the file.
// As an error it is never empty.
type ConfigErrors []ConfigError

func (m ConfigErrors) Error() string {
	lines := make([]string, len(m))
	for i, e := range m {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single errors.
func (m ConfigErrors) Unwrap() []error {
	errs := make([]error, len(m))
	for i, e := range m {
		errs[i] = e
	}
	return errs
}

func (m *ConfigErrors) add(at Position, format string, args ...any) {
	*m = append(*m, ConfigError{at, fmt.Sprintf(format, args...)})
}

// err returns the errors as one, or nil when there are none.
func (m ConfigErrors) err() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b ConfigError) int {
		return cmp.Or(cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
	return m
}

// suggestion returns the end of a message about an unknown name. It is the
// allowed name that the person probably meant, or all allowed names.
func suggestion(found string, allowed []string) string {
	if best := spelling.Nearest(found, allowed); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	sorted := slices.Sorted(slices.Values(allowed))
	return "allowed are " + strings.Join(sorted, ", ")
}

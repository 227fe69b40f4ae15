package config

import "strings"

// lookups remembers which programs one load of a configuration has found on this
// machine. Thousands of services may have the same program, and the worker binary
// is everybody's. Nil remembers nothing. It is for one goroutine.
type lookups struct{ programs map[string]foundProgram }

type foundProgram struct {
	path string
	err  error
}

// newLookups returns lookups that know of nothing yet.
func newLookups() *lookups { return &lookups{programs: map[string]foundProgram{}} }

// program is findProgram, once for each name.
func (l *lookups) program(name string) (string, error) {
	if l == nil {
		return findProgram(name)
	}
	found, ok := l.programs[name]
	if !ok {
		found.path, found.err = findProgram(name)
		l.programs[name] = found
	}
	return found.path, found.err
}

// inPath returns the programs that were found in PATH.
func (l *lookups) inPath() map[string]string {
	found := map[string]string{}
	for name, program := range l.programs {
		if !strings.Contains(name, "/") && program.err == nil {
			found[name] = program.path
		}
	}
	return found
}

// Package fdtest counts the descriptors of a test's own process, so that a test finds
// what was not closed.
//
// The package belongs to tests and is linked into no program.
package fdtest

// Package windowtest is a terminal for tests: a pseudo-terminal (pty(7)) in which a
// program runs, and the screen that a user would see.
//
// The package knows no program and starts none. It belongs to tests and is linked into
// no program.
package windowtest

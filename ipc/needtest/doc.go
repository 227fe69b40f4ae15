// Package needtest skips tests that need what a machine lacks. Where CI=true
// says that the machine is one for tests, which installs all that they need
// (.ci/run), nothing is skipped: there the lack is a failure. It belongs to
// tests and is linked into no program.
package needtest

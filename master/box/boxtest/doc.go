// Package boxtest has what the tests of boxes and of their parts need alike: to be in
// the namespaces of a process, and to see which processes are left.
//
// The package belongs to tests and is linked into no program.
package boxtest

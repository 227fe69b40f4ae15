// Package goldentest compares what a test has got with a file in the source: what people
// see, as it is meant to look. With -update it writes the files anew.
//
// The package belongs to tests and is linked into no program.
package goldentest

//go:build !race

package confine

// instrumented is false in a program that people run.
const instrumented = false

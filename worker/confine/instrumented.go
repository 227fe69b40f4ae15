//go:build race

package confine

// instrumented turns confinement off in a build with the race detector, which
// is for tests: it reads its options from files, and the coverage that goes
// with it is written at the exit.
const instrumented = true

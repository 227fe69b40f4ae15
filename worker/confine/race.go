//go:build race

package confine

// raceDetector turns confinement off in a build with the race detector, which is only
// for tests. The race detector reads its options from files. Test coverage is written
// at exit.
const raceDetector = true

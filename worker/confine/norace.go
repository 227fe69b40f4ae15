//go:build !race

package confine

// raceDetector is false in a release build.
const raceDetector = false

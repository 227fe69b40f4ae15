package confine

import "errors"

var (
	errThreadFilter = errors.New("a thread has a filter of its own")
	errRaceDetector = errors.New("built with the race detector")
)

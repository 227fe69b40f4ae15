package confine

import "errors"

var (
	errDiverged     = errors.New("a thread has a filter of its own")
	errInstrumented = errors.New("built with the race detector")
)

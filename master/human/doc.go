// Package human writes durations, sizes and names the way people read them, the
// same in the log on a terminal, in preforkd status and in preforkd top.
//
// It is for eyes: what programs read, JSON and metrics, has seconds and bytes.
package human

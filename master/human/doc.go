// Package human formats durations, sizes and names for people, in the same way in the log
// on a terminal, in preforkd status and in preforkd top.
//
// It owns these formats and nothing else. What programs read, as JSON and metrics, never
// goes through it: there, durations are seconds and sizes are bytes.
package human

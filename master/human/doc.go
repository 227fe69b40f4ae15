// Package human formats durations, sizes and names for people. The log on a
// terminal, preforkd status and preforkd top use the same formats.
//
// It owns these formats and nothing else. What programs read, as JSON and
// metrics, never goes through it: there, durations are seconds and sizes are
// bytes.
package human

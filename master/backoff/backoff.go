// Package backoff spaces out attempts that fail because the system lacks a
// resource, such as descriptors or processes.
//
// It owns the delays and nothing else: the caller waits.
package backoff

import "time"

// Min is the delay after the first failure. Max is the longest delay.
const (
	Min = 5 * time.Millisecond
	Max = time.Second
)

// A Backoff counts the failures in a row. Its zero value is ready for use. The
// delay doubles with each failure, as net/http's server does it: a short
// shortage costs little time, and a long one costs no CPU.
type Backoff struct{ delay time.Duration }

// Next returns how long to wait after one more failure.
func (b *Backoff) Next() time.Duration {
	b.delay = min(max(2*b.delay, Min), Max)
	return b.delay
}

// Reset is called after a success. It reports whether there was a failure since
// the last success.
func (b *Backoff) Reset() bool {
	failing := b.delay > 0
	b.delay = 0
	return failing
}

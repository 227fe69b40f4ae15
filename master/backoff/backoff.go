// Package backoff spaces out attempts that fail for want of a resource. It owns
// the length of the pauses, and never waits itself.
package backoff

import "time"

// The first pause and the longest one.
const (
	Min = 5 * time.Millisecond
	Max = time.Second
)

// A Backoff is the pause after a row of failures: Min after the first one,
// doubled with each further one, up to Max. net/http's server does the same,
// because it works: a short shortage costs little, and a long one costs no CPU.
// The zero Backoff has seen no failure.
type Backoff struct{ delay time.Duration }

// Next returns how long to wait after one more failure.
func (b *Backoff) Next() time.Duration {
	b.delay = min(max(2*b.delay, Min), Max)
	return b.delay
}

// Failing reports whether there was a failure since the last success.
func (b *Backoff) Failing() bool { return b.delay > 0 }

// Reset is called after a success. It reports whether there were failures
// before it.
func (b *Backoff) Reset() (wasFailing bool) {
	wasFailing = b.delay > 0
	b.delay = 0
	return wasFailing
}

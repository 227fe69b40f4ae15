package backoff

import "time"

// Min is the first pause, and Max is the longest one.
const (
	Min = 5 * time.Millisecond
	Max = time.Second
)

// A Backoff is the pause after some failures in a row. It is Min after the first
// failure, and doubles with each further one, up to Max. net/http's server does
// the same. A short shortage costs little time, and a long one costs no CPU. The
// zero Backoff has seen no failure.
type Backoff struct{ delay time.Duration }

// Next returns how long to wait after one more failure.
func (b *Backoff) Next() time.Duration {
	b.delay = min(max(2*b.delay, Min), Max)
	return b.delay
}

// Pause returns the last pause, 0 if there was no failure since the last success.
func (b *Backoff) Pause() time.Duration { return b.delay }

// After returns a Backoff after failures of which the last one had a pause.
func After(pause time.Duration) Backoff { return Backoff{min(max(pause, 0), Max)} }

// Failing reports whether there was a failure since the last success.
func (b *Backoff) Failing() bool { return b.delay > 0 }

// Reset is called after a success. It reports whether there was a failure since
// the last success.
func (b *Backoff) Reset() (wasFailing bool) {
	wasFailing = b.delay > 0
	b.delay = 0
	return wasFailing
}

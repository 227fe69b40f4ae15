package master

import "time"

// A backoff spaces out attempts that fail for want of a resource: 5 ms after
// the first failure, doubling up to a second. The net/http server does the
// same, because it works: a short shortage costs little, a long one no CPU.
type backoff struct{ delay time.Duration }

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// next returns how long to wait after one more failure.
func (b *backoff) next() time.Duration {
	b.delay = min(max(2*b.delay, minBackoff), maxBackoff)
	return b.delay
}

// reset is called after a success. It reports whether it ends a row of failures.
func (b *backoff) reset() bool {
	failing := b.delay > 0
	b.delay = 0
	return failing
}

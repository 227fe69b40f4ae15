package admit

import (
	"math"
	"time"
)

// A Rate allows one event per Interval on average, and Burst events at once.
// The zero Rate means no limit.
type Rate struct {
	Interval time.Duration
	Burst    int
}

// IsLimit reports whether the rate is a limit.
func (r Rate) IsLimit() bool { return r.Interval > 0 }

// A bucket is a token bucket of a Rate. Each source has one, so it is a single
// number: the time at which it will be full again. This is the "theoretical
// arrival time" of the generic cell rate algorithm. A bucket is full when its
// time has passed. The zero bucket is full.
type bucket int64

// ready returns the time at which the next event may happen. It is not after
// now if the event may happen now.
func (b bucket) ready(r Rate, now int64) int64 {
	if !r.IsLimit() {
		return now
	}
	return b.clamped(r, now) - r.duration(r.Burst-1)
}

// take returns the bucket after an event.
func (b bucket) take(r Rate, now int64) bucket {
	if !r.IsLimit() {
		return b
	}
	return bucket(max(b.clamped(r, now), now) + int64(r.Interval))
}

// clamped returns the time of the bucket, but no later than that of an empty
// bucket. It can be later if the rate was raised meanwhile. Without the limit
// the source would wait as long as with the old rate.
func (b bucket) clamped(r Rate, now int64) int64 {
	return min(int64(b), now+r.duration(max(r.Burst, 1)))
}

// duration returns how long n events take. Where that would overflow, it
// returns a duration that never ends, and that can still be added to now.
func (r Rate) duration(n int) int64 {
	const forever = math.MaxInt64 / 4
	if n > 0 && int64(r.Interval) > forever/int64(n) {
		return forever
	}
	return int64(r.Interval) * int64(n)
}

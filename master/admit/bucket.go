package admit

import (
	"math"
	"time"
)

// A Rate lets events happen with an interval on average, and Burst of them at
// once. The zero Rate is no limit.
type Rate struct {
	Interval time.Duration
	Burst    int
}

// IsLimit reports whether the rate limits anything.
func (r Rate) IsLimit() bool { return r.Interval > 0 }

// A bucket is a token bucket of a Rate. It is kept as a single number, because
// there is one for each source: the time at which it will be full again (the
// "theoretical arrival time" of the generic cell rate algorithm). The zero
// bucket is full, and so is any whose time has come.
type bucket int64

// ready returns when the next event may happen, at or before now if it may
// happen now.
func (b bucket) ready(r Rate, now int64) int64 {
	if !r.IsLimit() {
		return now
	}
	return b.bounded(r, now) - r.depth(r.Burst-1)
}

// take returns the bucket after an event.
func (b bucket) take(r Rate, now int64) bucket {
	if !r.IsLimit() {
		return b
	}
	return bucket(max(b.bounded(r, now), now) + int64(r.Interval))
}

// bounded keeps a bucket from being emptier than empty. It can be when the rate
// has been raised since: without this, the source would wait at the old pace.
func (b bucket) bounded(r Rate, now int64) int64 {
	return min(int64(b), now+r.depth(max(r.Burst, 1)))
}

// depth is how long n events take. Instead of overflowing it ends at a time
// that never comes and still leaves room for now.
func (r Rate) depth(n int) int64 {
	const forever = math.MaxInt64 / 4
	if n > 0 && int64(r.Interval) > forever/int64(n) {
		return forever
	}
	return int64(r.Interval) * int64(n)
}

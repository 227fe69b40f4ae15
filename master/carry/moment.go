package carry

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Moment is a reading of the monotonic clock in nanoseconds (CLOCK_MONOTONIC), which
// all programs share. 0 is the zero time.
type Moment int64

// anchor is one time by both clocks. All conversions go by it, so that a moment stays the
// same number however often it becomes a time and a moment again.
var anchor = struct {
	time   time.Time
	moment int64
}{time.Now(), monotonic()}

// At returns the moment of a time. A time without a reading of the monotonic clock is
// taken for what the wall clock says now.
func At(t time.Time) Moment {
	if t.IsZero() {
		return 0
	}
	var m Moment
	if t == t.Round(0) { // it has no such reading
		m = Moment(monotonic() - int64(time.Since(t)))
	} else {
		m = Moment(anchor.moment + int64(t.Sub(anchor.time)))
	}
	if m == 0 {
		m = 1
	}
	return m
}

// Time returns the time of a moment, with a reading of the monotonic clock.
func (m Moment) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return anchor.time.Add(time.Duration(int64(m) - anchor.moment))
}

func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it always succeeds
	return now.Nano()
}

package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// A Result is what one load has seen.
type Result struct {
	Done    int            // connections whose whole message came back
	Errors  map[string]int // connections that failed, by kind
	Bytes   int64          // echoed and verified
	Elapsed time.Duration  // from the first connect to the last echo

	// Latency is of every connection that counts, in nanoseconds, with three
	// significant digits, up to a minute.
	Latency *hdrhistogram.Histogram
	// Lag is how late the open loop's generator itself was, in nanoseconds: from
	// the moment a connection was due to the call of connect. It is part of
	// the latency, the same for every server.
	Lag *hdrhistogram.Histogram
}

func newResult() *Result {
	return &Result{
		Errors:  make(map[string]int),
		Latency: hdrhistogram.New(1000, time.Minute.Nanoseconds(), 3),
		Lag:     hdrhistogram.New(1000, time.Minute.Nanoseconds(), 3),
	}
}

// Failed returns how many connections failed.
func (r *Result) Failed() int {
	sum := 0
	for _, n := range r.Errors {
		sum += n
	}
	return sum
}

// Rate returns connections per second.
func (r *Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Done) / r.Elapsed.Seconds()
}

// record counts a duration; what is longer than the scale counts as its end.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	h.RecordValue(min(max(int64(d), 0), h.HighestTrackableValue()))
}

// The kinds of failure.
var (
	errTimeout = errors.New("timed out")
	errEarly   = errors.New("closed early")
	errWrong   = errors.New("wrong bytes")
)

// kind names an error for counting. System errors appear by their short name.
func kind(err error) string {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	default:
		return fmt.Sprint(err)
	}
}

package master

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/preforkd/preforkd/master/control"
)

// A latency is how long something has taken, over all times that it happened.
// The loop owns it. The zero latency is empty.
type latency struct {
	micros  *hdrhistogram.Histogram
	buckets []uint64 // by control.LatencyBounds, each without the shorter ones
	count   uint64
	sum     time.Duration
}

// What is longer counts as that long. Two digits cost 20 KiB for a service.
const (
	maxLatency    = 10 * time.Minute
	latencyDigits = 2
)

func (l *latency) record(d time.Duration) {
	d = min(max(d, time.Microsecond), maxLatency)
	if l.micros == nil {
		l.micros = hdrhistogram.New(1, maxLatency.Microseconds(), latencyDigits)
		l.buckets = make([]uint64, len(control.LatencyBounds))
	}
	_ = l.micros.RecordValue(d.Microseconds()) // within its bounds
	l.count++
	l.sum += d
	for i, bound := range control.LatencyBounds {
		if d.Seconds() <= bound {
			l.buckets[i]++
			break
		}
	}
}

// show returns the latency for a status, nil if it is empty.
func (l *latency) show() *control.Latency {
	if l.count == 0 {
		return nil
	}
	seconds := func(percent float64) float64 { return float64(l.micros.ValueAtPercentile(percent)) / 1e6 }
	shown := &control.Latency{Count: l.count, P50: seconds(50), P99: seconds(99), Sum: l.sum.Seconds()}
	sum := uint64(0)
	for _, n := range l.buckets {
		sum += n
		shown.Buckets = append(shown.Buckets, sum)
	}
	return shown
}

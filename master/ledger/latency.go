package ledger

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/preforkd/preforkd/master/control"
)

// A latency records how long something took, each time that it happened. The
// zero latency is empty.
type latency struct {
	micros  *hdrhistogram.Histogram
	seconds histogram // by control.LatencyBounds
}

// Longer durations are recorded as maxLatency. Two digits cost 20 KiB for each
// service.
const (
	maxLatency    = 10 * time.Minute
	latencyDigits = 2
)

func newMicros() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, maxLatency.Microseconds(), latencyDigits)
}

func (l *latency) record(d time.Duration) {
	d = min(max(d, time.Microsecond), maxLatency)
	if l.micros == nil {
		l.micros = newMicros()
	}
	_ = l.micros.RecordValue(d.Microseconds()) // it is within the bounds
	l.seconds.record(d.Seconds(), control.LatencyBounds)
}

// show returns the latency for a status, nil if it is empty.
func (l *latency) show() *control.Latency {
	if l.seconds.count == 0 {
		return nil
	}
	at := func(percent float64) float64 { return float64(l.micros.ValueAtPercentile(percent)) / 1e6 }
	return &control.Latency{Histogram: l.seconds.show(), P50: at(50), P99: at(99)}
}

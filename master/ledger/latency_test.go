package ledger

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/master/control"
)

func TestLatency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l latency
		if l.show() != nil {
			t.Fatal("there is something to show")
		}
		times := rapid.SliceOfN(rapid.Int64Range(-1, int64(time.Hour)), 1, 50).Draw(t, "times")
		least, most := maxLatency, time.Duration(0)
		for _, d := range times {
			l.record(time.Duration(d))
			d := min(max(time.Duration(d), time.Microsecond), maxLatency)
			least, most = min(least, d), max(most, d)
		}
		shown := l.show()
		// Two digits are kept.
		if shown.Count != uint64(len(times)) || shown.P50 > shown.P99 ||
			shown.P50 < 0.98*least.Truncate(time.Microsecond).Seconds() || shown.P99 > 1.02*most.Seconds() {
			t.Fatalf("%+v of %v", shown, times)
		}
		for i, bound := range control.LatencyBounds {
			n := uint64(0)
			for _, d := range times {
				if min(max(time.Duration(d), time.Microsecond), maxLatency).Seconds() <= bound {
					n++
				}
			}
			if shown.Buckets[i] != n {
				t.Fatalf("%d of %v up to %v s, want %d", shown.Buckets[i], times, bound, n)
			}
		}
	})
}

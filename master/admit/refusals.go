package admit

import (
	"sync"
	"time"
)

// Refusals decides which refusals are worth a line of the log. A flood of them
// is the very time at which the log must stay readable, so each reason may have
// a few lines at once and then one every few seconds, which says how many it
// stands for. It is safe for concurrent use; the zero Refusals is ready.
type Refusals struct {
	mu      sync.Mutex
	start   time.Time
	reasons [Reasons]struct {
		bucket     bucket
		suppressed uint64
		first      int64 // when the suppressed ones began
	}
}

// refusalRate is how often a reason may stand in the log.
var refusalRate = Rate{Interval: 5 * time.Second, Burst: 5}

// Note takes a refusal into account. It reports whether to log it, and how many
// of the same reason were not logged before it.
func (l *Refusals) Note(reason Reason, now time.Time) (suppressed uint64, log bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.now(now)
	r := &l.reasons[reason]
	if r.bucket.ready(refusalRate, t) > t {
		if r.suppressed == 0 {
			r.first = t
		}
		r.suppressed++
		return 0, false
	}
	r.bucket = r.bucket.take(refusalRate, t)
	suppressed, r.suppressed = r.suppressed, 0
	return suppressed, true
}

// Rest returns, by reason, what was suppressed for a while and not logged since:
// the end of a flood, after which no refusal comes that could say so. It is
// called every now and then.
func (l *Refusals) Rest(now time.Time) map[Reason]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.now(now)
	var rest map[Reason]uint64
	for reason := range Reasons {
		r := &l.reasons[reason]
		if r.suppressed == 0 || t-r.first < int64(refusalRate.Interval) {
			continue
		}
		if rest == nil {
			rest = map[Reason]uint64{}
		}
		rest[reason], r.suppressed = r.suppressed, 0
	}
	return rest
}

func (l *Refusals) now(t time.Time) int64 {
	if l.start.IsZero() {
		l.start = t
	}
	return max(int64(t.Sub(l.start)), 0) + 1
}

package admit

import (
	"sync"
	"time"
)

// Refusals decides which refusals get a line in the log. The log must stay
// readable while many connections are refused. So each reason gets a few lines
// at once, and then one every few seconds, which says how many refusals were
// not logged. Several goroutines may use Refusals at once. The zero Refusals is
// ready for use.
type Refusals struct {
	mu      sync.Mutex
	start   time.Time
	reasons *[Reasons]refusalsOf // nil before the first one
}

// refusalsOf are the refusals for one reason.
type refusalsOf struct {
	bucket     bucket
	suppressed uint64
	first      int64 // the time of the first suppressed one
}

// refusalRate is how often a reason may appear in the log.
var refusalRate = Rate{Interval: 5 * time.Second, Burst: 5}

// Note records a refusal. It reports whether the caller should log it, and how
// many refusals for the same reason were not logged before it. If the caller should
// not log it, it is one of so many that are not. With the first of them the caller
// must see to it that Rest is called.
func (l *Refusals) Note(reason Reason, now time.Time) (suppressed uint64, log bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.now(now)
	if l.reasons == nil {
		l.reasons = new([Reasons]refusalsOf)
	}
	r := &l.reasons[reason]
	if r.bucket.ready(refusalRate, t) > t {
		if r.suppressed == 0 {
			r.first = t
		}
		r.suppressed++
		return r.suppressed, false
	}
	r.bucket = r.bucket.take(refusalRate, t)
	suppressed, r.suppressed = r.suppressed, 0
	return suppressed, true
}

// Pending reports whether there is anything that Rest has to return, now or later.
func (l *Refusals) Pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for reason := range Reasons {
		if l.reasons != nil && l.reasons[reason].suppressed > 0 {
			return true
		}
	}
	return false
}

// Rest returns by reason how many refusals were suppressed and not reported
// since. After the last refusal of a flood no other one comes that could report
// them. So the caller must call Rest from time to time.
func (l *Refusals) Rest(now time.Time) map[Reason]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reasons == nil {
		return nil
	}
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

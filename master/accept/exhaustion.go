package accept

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/preforkd/preforkd/master/backoff"
)

// An exhaustion spaces out the attempts to accept from one listener while the
// system lacks resources. All goroutines of the listener share it: they meet the
// same shortage, and one warning tells of it. The zero exhaustion is none.
type exhaustion struct {
	short atomic.Bool // as failures.Failing(), for those who are in a hurry

	mu       sync.Mutex // guards what follows
	failures backoff.Backoff
	until    time.Time // the end of the present pause
}

// met notes that accepting has failed, and returns how long to wait. first says
// that it is the first failure since the last success.
func (e *exhaustion) met(now time.Time) (wait time.Duration, first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if wait = e.until.Sub(now); wait > 0 {
		return wait, false // another goroutine has met the same failure
	}
	first = !e.failures.Failing()
	wait = e.failures.Next()
	e.until = now.Add(wait)
	e.short.Store(true)
	return wait, first
}

// passed notes a success. It reports whether there were failures before it.
func (e *exhaustion) passed() bool {
	if !e.short.Load() {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.short.Store(false)
	e.until = time.Time{}
	return e.failures.Reset()
}

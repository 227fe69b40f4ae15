package admit

import (
	"sync"
	"time"
)

// A Congestion is what a service has seen of times when it was full and clients
// waited for a slot or were turned away for want of one. It decides which of these
// times get lines in the log. Several goroutines may use it at once. The zero
// Congestion has seen none.
type Congestion struct {
	mu sync.Mutex // guards what follows

	since      time.Time     // when the present one began; zero if there is none
	over       time.Duration // how long all others lasted
	told       time.Time     // when the log last told of one
	telling    bool          // the log has told that the present one began
	suppressed uint64        // those that have ended and that the log has not told of
}

// congestionInterval is how often the log may tell of a congestion. A service that
// is full again and again gets one pair of lines in that time.
const congestionInterval = time.Minute

// A CongestionNotice is what the log has to tell now.
type CongestionNotice struct {
	Began, Ended bool
	// Duration is how long it has lasted.
	Duration time.Duration
	// Suppressed is how many others the log has not told of since the last line.
	Suppressed uint64
}

// Observe notes whether the service is congested now, and returns what the log has
// to tell. The caller calls it every second or so from the moment when the service
// is full, until it is not congested and Settled.
//
// One that begins soon after the log has told of another is told when it lasts until
// the log may tell of it. Those that do not last are counted.
func (c *Congestion) Observe(congested bool, now time.Time) (n CongestionNotice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	may := c.told.IsZero() || now.Sub(c.told) >= congestionInterval
	lasted := time.Duration(0)
	switch {
	case congested && c.since.IsZero():
		c.since = now
	case !c.since.IsZero():
		lasted = now.Sub(c.since)
	}
	if congested {
		if !c.telling && may {
			c.telling = true
			return c.tell(CongestionNotice{Began: true, Duration: lasted}, now)
		}
		return n
	}
	if !c.since.IsZero() {
		c.since = time.Time{}
		c.over += lasted
		if c.telling {
			c.telling = false
			n = CongestionNotice{Ended: true, Duration: lasted, Suppressed: c.suppressed}
			c.suppressed = 0
			return n
		}
		c.suppressed++
	}
	if c.suppressed > 0 && may {
		return c.tell(CongestionNotice{Ended: true}, now)
	}
	return n
}

// tell completes a notice that counts for the interval. mu is held.
func (c *Congestion) tell(n CongestionNotice, now time.Time) CongestionNotice {
	c.told = now
	n.Suppressed, c.suppressed = c.suppressed, 0
	return n
}

// Settled reports whether there is nothing left to tell as long as the service is
// not congested.
func (c *Congestion) Settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since.IsZero() && c.suppressed == 0
}

// State returns since when the service is congested, the zero time if it is not, and
// how long it was altogether.
func (c *Congestion) State(now time.Time) (since time.Time, total time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return c.since, c.over
	}
	return c.since, c.over + max(now.Sub(c.since), 0)
}

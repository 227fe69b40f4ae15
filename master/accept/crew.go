package accept

import "sync"

// A crew is the goroutines that accept from one listener. One of them accepts
// while others start processes for what they have accepted.
//
// There is one at first, so that thousands of listeners cost as many goroutines
// and no more. Whoever takes a connection and leaves nobody to accept has
// another one started. Two stay for the next connections: on a listener in use
// no goroutine begins and ends for each.
type crew struct {
	limit    int
	shortage exhaustion

	mu      sync.Mutex // guards what follows
	size    int        // goroutines
	serving int        // of them that have a connection
}

// maxFree is how many goroutines stay that have no connection.
const maxFree = 2

// busy notes that one of them has taken a connection. It reports whether another
// one is to be started, which counts from then on.
func (c *crew) busy() (start bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving++
	if start = c.serving == c.size && c.size < c.limit; start {
		c.size++
	}
	return start
}

// free notes that one of them has no connection any more. It reports whether it
// is to stay. Otherwise it does not count any more.
func (c *crew) free() (stay bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving--
	if stay = c.size-c.serving <= maxFree; !stay {
		c.size--
	}
	return stay
}

package backoff

import (
	"fmt"
	"time"
)

// Export returns the state of the Backoff for Restore: the last pause.
func (b *Backoff) Export() time.Duration { return b.delay }

// Restore returns the Backoff of a state. The next pause follows the one that was last.
func Restore(last time.Duration) (Backoff, error) {
	if last < 0 || last > Max {
		return Backoff{}, fmt.Errorf("a pause of %v, allowed are 0 to %v", last, Max)
	}
	return Backoff{last}, nil
}

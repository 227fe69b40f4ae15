package proxy

import "sync/atomic"

// A Budget bounds the memory that all headers together take while they are
// incomplete. Short headers take nothing of it. So long ones that are slow keep
// no short one out. Several goroutines may use a Budget at once.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int) *Budget { return &Budget{limit: int64(bytes)} }

// claim takes bytes out of the budget. It reports whether there were so many.
func (b *Budget) claim(bytes int) bool {
	if b.used.Add(int64(bytes)) > b.limit {
		b.release(bytes)
		return false
	}
	return true
}

// release gives claimed bytes back.
func (b *Budget) release(bytes int) { b.used.Add(-int64(bytes)) }

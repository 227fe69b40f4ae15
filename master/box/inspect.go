package box

import (
	"time"

	"github.com/preforkd/preforkd/master/box/stub"
)

// To wake a thread of the janitor costs as much as to inspect a cell, so it inspects some
// together, unless they are needed.
const (
	inspectAtOnce = 8
	inspectPause  = 5 * time.Millisecond // so long a cell waits for others
)

// An inspection says what is under way for the cells that were left. The lock of the box
// guards it.
type inspection struct {
	begun bool // inspectLeft is about to be called
	timer *time.Timer
	timed bool // the timer runs
}

// begin notes that inspectLeft is to be called, and reports whether the caller has to have
// it called.
func (i *inspection) begin() bool {
	if i.begun {
		return false
	}
	i.begun = true
	return true
}

// inspect hands a cell out again if it is as new, and ends it otherwise, a moment later.
// The cell is the box's from now on.
func (b *Box) inspect(c *cell) {
	if c.request(stub.RequestCheck) != nil {
		c.drop()
		return
	}
	b.mu.Lock()
	b.left = append(b.left, c)
	i := &b.inspecting
	now := (len(b.left) >= inspectAtOnce || len(b.idle) == 0) && i.begin()
	if !now && !i.begun && !i.timed {
		i.timed = true
		if i.timer == nil {
			i.timer = time.AfterFunc(inspectPause, b.inspectLater)
		} else {
			i.timer.Reset(inspectPause)
		}
	}
	b.mu.Unlock()
	if now {
		b.m.janitor.do(b.inspectLeft)
	}
}

// inspectLater is called by the timer.
func (b *Box) inspectLater() {
	b.mu.Lock()
	b.inspecting.timed = false
	now := len(b.left) > 0 && b.inspecting.begin()
	b.mu.Unlock()
	if now {
		b.m.janitor.do(b.inspectLeft)
	}
}

// inspectLeft inspects the cells that were left.
func (b *Box) inspectLeft() {
	b.mu.Lock()
	left := b.left
	b.left, b.inspecting.begun = nil, false
	b.mu.Unlock()
	for _, c := range left {
		if !b.m.closed.Load() && c.clean() {
			b.putIdle(c)
		} else {
			c.drop()
		}
	}
}

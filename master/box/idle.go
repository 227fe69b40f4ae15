package box

import (
	"slices"
	"time"
)

// maxIdle bounds the cells of a box that wait for a process.
const maxIdle = 32

// trimPause is for how long an idle cell, but for one, may wait for a process.
const trimPause = time.Minute

// take returns a cell for one process.
func (b *Box) take(t *template) (*cell, error) {
	if !b.set.hasCells() {
		return newGuest(b), nil
	}
	b.mu.Lock()
	var c *cell
	if last := len(b.idle) - 1; last >= 0 {
		c = b.idle[last]
		b.idle = b.idle[:last]
		b.spare = min(b.spare, last)
	}
	// A box that is busy gets as many cells as let several of them be inspected at once.
	ahead := len(b.idle) == 0 && len(b.left) < inspectAtOnce/2 && !b.making && b.used
	if ahead {
		b.making = true
		b.live++ // the template stays meanwhile
	}
	inspect := len(b.idle) == 0 && len(b.left) > 0 && b.inspecting.begin()
	b.mu.Unlock()
	if inspect {
		b.m.janitor.do(b.inspectLeft)
	}
	if ahead {
		b.m.janitor.do(func() { b.makeAhead(t) })
	}
	if c != nil {
		return c, nil
	}
	if !b.set.bare {
		return newCell(b, t)
	}
	// The holder needs capabilities, which the children of this thread do not get.
	err := b.m.threads.Do(func() (err error) {
		c, err = newCell(b, t)
		return err
	})
	return c, err
}

// makeAhead makes a cell that the next process finds idle.
func (b *Box) makeAhead(t *template) {
	var c *cell
	err := b.m.beginStart()
	if err == nil {
		err = b.m.threads.Do(func() (err error) {
			c, err = newCell(b, t)
			return err
		})
		b.m.endStart()
	}
	b.mu.Lock()
	b.making = false
	b.mu.Unlock()
	// If it fails, so does the next start, which says why.
	if err == nil && c != nil {
		b.putIdle(c)
	}
	b.end()
}

// putIdle hands a cell out again that is as new, or ends it if there are enough.
func (b *Box) putIdle(c *cell) {
	c.releaseUser()
	b.mu.Lock()
	keep := b.used && len(b.idle) < maxIdle
	if keep {
		b.idle = append(b.idle, c)
		b.scheduleTrim()
	}
	b.mu.Unlock()
	if !keep {
		c.drop()
	}
}

// forget takes a cell out of those that are idle. It reports whether it was one.
func (b *Box) forget(c *cell) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.idle, c)
	if i < 0 {
		return false
	}
	b.idle = slices.Delete(b.idle, i, i+1)
	return true
}

// scheduleTrim has trim called after a pause, if there is more than one idle cell. The
// lock is held.
func (b *Box) scheduleTrim() {
	if b.trimming || len(b.idle) < 2 {
		return
	}
	b.trimming, b.spare = true, len(b.idle)
	time.AfterFunc(trimPause, func() { b.m.janitor.do(b.trim) })
}

// trim ends the idle cells that nobody has needed since scheduleTrim, but for one: after
// a rush a box is as cheap as before.
func (b *Box) trim() {
	b.mu.Lock()
	excess := max(0, min(b.spare, len(b.idle)-1))
	old := slices.Clone(b.idle[:excess])
	b.idle = slices.Delete(b.idle, 0, excess)
	b.trimming = false
	b.scheduleTrim()
	b.mu.Unlock()
	for _, c := range old {
		c.drop()
	}
}

package box

import (
	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/logging"
)

// begin counts a process that is about to be started, and returns the template,
// which stays until end.
func (b *Box) begin() (*template, error) {
	b.mu.Lock()
	b.live++
	t := b.template
	b.mu.Unlock()
	if t != nil {
		return t, nil
	}
	b.building.Lock()
	defer b.building.Unlock()
	b.mu.Lock()
	t = b.template
	b.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := newTemplate(b)
	if err != nil {
		b.end()
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.template = t
	return t, nil
}

// hold keeps the template until end.
func (b *Box) hold() {
	b.mu.Lock()
	b.live++
	b.mu.Unlock()
}

// openGroup returns a descriptor of the cgroup of a cell, which gets one if it has
// none. The caller closes it.
func (b *Box) openGroup(t *template, own *cell) (fd int, err error) {
	if own.group == nil {
		b.mu.Lock()
		if last := len(b.leaves) - 1; last >= 0 {
			own.group = b.leaves[last]
			b.leaves = b.leaves[:last]
		}
		b.mu.Unlock()
	}
	if own.group == nil {
		if own.group, err = t.group.service.Leaf(cgroupLimits(&b.cfg.Cgroup)); err != nil {
			return -1, err
		}
	}
	return own.group.Open()
}

// giveGroup takes the cgroup of a cell back that is over.
func (b *Box) giveGroup(l *cgroup.Leaf) {
	b.hold()
	b.m.janitor.do(func() {
		defer b.end()
		keep := renewGroup(l)
		b.mu.Lock()
		if keep = keep && b.used && len(b.leaves) < maxIdle; keep {
			b.leaves = append(b.leaves, l)
		}
		b.mu.Unlock()
		if keep {
			return
		}
		if err := l.Close(); err != nil {
			b.m.log.Warn("cgroup", logging.Service(b.service), logging.Error(err))
		}
	})
}

// end is called when a process or its cell is gone for which begin was called.
func (b *Box) end() {
	b.mu.Lock()
	b.live--
	unused := b.live == 0 && !b.used
	b.mu.Unlock()
	if unused {
		b.m.janitor.do(b.closeUnused)
	}
}

// setUsed notes whether a service in force has the box. It reports whether the box is closed or
// about to be.
func (b *Box) setUsed(used bool) (over bool) {
	b.mu.Lock()
	changed := used && !b.used
	b.used = used
	b.dropOldEntries()
	over = !used && b.live == 0
	t := b.template
	b.mu.Unlock()
	if changed && t != nil && t.group != nil {
		t.group.setLimits(&b.cfg)
	}
	if !used {
		b.m.janitor.do(b.closeUnused)
	}
	return over
}

// closeUnused closes what nobody needs any more of a box that no service has.
func (b *Box) closeUnused() {
	b.mu.Lock()
	if b.used {
		b.mu.Unlock()
		return
	}
	idle := b.idle
	b.idle = nil
	b.mu.Unlock()
	for _, c := range idle {
		c.drop()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live == 0 && !b.used {
		b.closeTemplate()
	}
}

// closeTemplate closes the template and the entries. The lock is held, and nothing
// is live.
func (b *Box) closeTemplate() {
	if b.template != nil {
		b.template.close()
		b.template = nil
	}
	b.leaves = nil // they are closed with the cgroup of the service
	for key, entry := range b.entries {
		b.shared.images.drop(entry)
		delete(b.entries, key)
	}
}

// close closes the box at the end of the Manager, whose cells have ended.
func (b *Box) close() {
	b.mu.Lock()
	b.used = false
	b.mu.Unlock()
	b.closeUnused()
}

// dropOldEntries drops the entries of programs that nobody has started since the last
// configuration but one was put in force: paths may have versions in them. Whoever
// starts such a program after all makes its entry again. The lock is held.
func (b *Box) dropOldEntries() {
	for key, e := range b.entries {
		if e.generation < b.generation-1 {
			b.shared.images.drop(e)
			delete(b.entries, key)
		}
	}
	b.generation++
}

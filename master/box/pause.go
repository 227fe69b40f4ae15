package box

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/logging"
)

// Pause has the Manager stand still until Resume. Nothing is started: what would be started
// waits. No cell is looked at or ended, and no system call is answered. The cells that are
// idle end. Pause waits for what is under way. After the deadline the Manager goes on, and
// there is an error.
//
// The caller must not wait for a start meanwhile, and nobody may reap. Then done of no cell is
// called until Resume (process.Cell).
func (m *Manager) Pause(deadline time.Time) error {
	if err := m.janitor.pause(deadline); err != nil {
		return err
	}
	if err := m.pauseStarts(deadline); err != nil {
		m.janitor.resume()
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.allBoxes() {
		b.dropIdle()
	}
	if m.shared != nil {
		m.shared.observing.pause()
	}
	m.carry.boxes = nil
	for _, b := range m.allBoxes() {
		if b.isLive() {
			m.carry.boxes = append(m.carry.boxes, b)
		}
	}
	return nil
}

func (m *Manager) pauseStarts(deadline time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = true
	defer wakeAt(deadline, m.starts)()
	for m.starting > 0 {
		if !time.Now().Before(deadline) {
			m.paused = false
			m.starts.Broadcast()
			return errors.New("the start of a process in a box takes too long")
		}
		m.starts.Wait()
	}
	return nil
}

// allBoxes returns the boxes that there are, and those that were closed before the last of
// their cells was reaped. The lock is held.
func (m *Manager) allBoxes() (all []*Box) {
	known := map[*Box]bool{}
	add := func(b *Box) {
		if !known[b] {
			known[b] = true
			all = append(all, b)
		}
	}
	for _, b := range m.boxes {
		add(b)
	}
	for _, pid := range slices.Sorted(maps.Keys(m.holders)) {
		for _, c := range m.holders[pid] {
			add(c.box)
		}
	}
	return all
}

func (b *Box) isLive() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.live > 0
}

// dropIdle ends the cells that no process is in, also those that nobody has looked at.
func (b *Box) dropIdle() {
	b.mu.Lock()
	cells := append(b.idle, b.left...)
	b.idle, b.left = nil, nil
	b.mu.Unlock()
	for _, c := range cells {
		c.drop()
	}
}

// Resume ends what Pause or Restore has begun. After a Restore the caller must have called
// RestoreCell for all cells, and put the configuration in force (Use).
func (m *Manager) Resume() {
	m.mu.Lock()
	c := m.carry
	m.carry = carried{}
	c.closeLent()
	s := m.shared
	m.paused = false
	m.starts.Broadcast()
	m.mu.Unlock()
	if s != nil {
		if err := s.observing.resume(); err != nil {
			m.log.Warn("observe system calls", logging.Error(err))
		}
	}
	for _, l := range c.leaves {
		if err := l.ParkPeak(m.groups.parkCopy); err != nil {
			m.log.Warn("cgroup", logging.Reason("a descriptor stays where every spawn has to copy it"), logging.Error(err))
			break
		}
	}
	for _, g := range c.groups {
		m.janitor.do(func() {
			if err := g.service.RemoveUnclaimed(); err != nil {
				m.log.Warn("cgroup", logging.Service(g.name), logging.Error(err))
			}
			g.close()
		})
	}
	m.janitor.resume()
}

// parkCopy copies a descriptor to where those of leaves are.
func (g *groups) parkCopy(fd int) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	parked, err := g.park.Park([]int{fd})
	if err != nil {
		return -1, err
	}
	return parked[0], nil
}

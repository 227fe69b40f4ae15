package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/process"
)

// Restore gives a new Manager the state of that of an earlier master, before it makes a box.
// It touches no descriptor. The Manager is then as Pause leaves it, but for one thing:
// boxes may be made and tried. Resume ends that.
//
// For each box in which something lives there is one that no service has. Nothing is
// started in it, and it is closed at the end of the last cell.
func (m *Manager) Restore(s *State, d *carry.Descriptors) error {
	if err := m.janitor.pause(time.Now()); err != nil {
		return err // never: there is no box yet
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.Reports != nil {
		if _, err := m.share(); err != nil {
			return err
		}
		if err := m.shared.restore(s, d); err != nil {
			return err
		}
	} else if s.Observer != nil || s.Alarm != nil {
		return errors.New("system calls are observed, and there is nobody to tell of them")
	}
	held, err := m.groups.restore(s.Cgroups, d)
	if err != nil {
		return err
	}
	m.carry.groups = held
	for i, one := range s.Boxes {
		b, err := m.restoreBox(&one)
		if err != nil {
			return fmt.Errorf("box %d: %w", i, err)
		}
		m.boxes = append(m.boxes, b)
		m.carry.boxes = append(m.carry.boxes, b)
	}
	for i := range s.Cells {
		if s.Cells[i].Leaving {
			return errors.New("a cell is being left that nobody waits for")
		}
		if _, err := m.restoreCell(&s.Cells[i], false, d); err != nil {
			return fmt.Errorf("cell %d: %w", i, err)
		}
	}
	for _, pid := range s.Probes {
		m.probes[pid] = true
	}
	return nil
}

// restore takes over the reports and the observer.
func (s *shared) restore(state *State, d *carry.Descriptors) error {
	r := &reports{read: map[int]stub.Failure{}}
	var err error
	if r.in, err = d.Take(state.Reports.In); err != nil {
		return err
	}
	if r.out, err = d.Take(state.Reports.Out); err != nil {
		return err
	}
	if r.in < 0 || r.out < 0 {
		return errors.New("there is no socket for what fails in boxes")
	}
	for _, one := range state.Reports.Read {
		r.read[one.PID] = stub.Failure{Step: stub.Step{Action: stub.Action(one.Action), Number: one.Number}, Errno: unix.Errno(one.Errno)}
	}
	if err := s.alarm.restore(state.Alarm, d); err != nil {
		return err
	}
	s.reports.close()
	s.reports = r
	s.observing.mu.Lock()
	defer s.observing.mu.Unlock()
	s.observing.paused = true
	if state.Observer == nil {
		return nil
	}
	o, err := observe.Restore(state.Observer, d, r.in, r.collect)
	if err != nil {
		return err
	}
	r.sendListeners(o)
	s.observing.by = o
	return nil
}

// restore takes over the cgroups. It returns the groups, each of which the caller must close.
func (g *groups) restore(s *cgroup.State, d *carry.Descriptors) (held []*group, err error) {
	if s == nil {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	root, services, err := cgroup.Restore(s, d)
	if err != nil {
		return nil, err
	}
	if g.park, err = fdpark.Open(); err != nil {
		return nil, err
	}
	root.ParkIn(g.park.Do)
	g.root, g.controllers, g.services = root, s.Controllers, map[string]*group{}
	for _, one := range s.Services {
		s := &group{of: g, name: one.Name, service: services[one.Name], boxes: 1}
		g.services[one.Name] = s
		held = append(held, s)
	}
	return held, nil
}

// hold returns the group of a service for one more box, which must close it.
func (g *groups) hold(name string) (*group, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.services[name]
	if s == nil {
		return nil, fmt.Errorf("service %q has no cgroup", name)
	}
	s.boxes++
	return s, nil
}

// restoreBox makes a box for cells of an earlier master. The lock is held.
func (m *Manager) restoreBox(s *BoxState) (*Box, error) {
	b := &Box{m: m, shared: m.shared, former: true, service: s.Service, template: &template{net: -1, uts: -1}}
	b.set = settings{processes: s.PrivatePIDs, counted: s.Cgroup, siblings: s.Siblings}
	if b.shared == nil {
		return nil, errors.New("there is no socket for what fails in it")
	}
	if number := s.Subject; number != 0 {
		o := b.shared.observing.by
		if o != nil {
			b.set.subject = o.Subject(number)
		}
		if b.set.subject == nil {
			return nil, fmt.Errorf("its filter tells nobody of number %d", number)
		}
		b.template.subject, b.template.forget = number, func() { o.Remove(number) }
	}
	if !s.Cgroup {
		return b, nil
	}
	var err error
	b.template.group, err = m.groups.hold(s.Service)
	return b, err
}

// RestoreCell makes a cell again that ExportCell has exported, after Restore. It lives and
// ends as any other, and is not handed out again. If it was being left, the caller calls
// Leave again, before anything is reaped: that says who waits for the cell's end.
func (m *Manager) RestoreCell(text json.RawMessage, d *carry.Descriptors) (process.Cell, error) {
	s, err := decodeCell(text)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.restoreCell(s, true, d)
	if err != nil {
		return nil, fmt.Errorf("the cell of process %d: %w", s.Worker, err)
	}
	return c, nil
}

// restoreCell makes a cell again, which has an owner or ends. The lock is held.
func (m *Manager) restoreCell(s *CellState, owned bool, d *carry.Descriptors) (*cell, error) {
	if s.Box < 0 || s.Box >= len(m.carry.boxes) {
		return nil, fmt.Errorf("its box %d is not known", s.Box)
	}
	b := m.carry.boxes[s.Box]
	c := newGuest(b)
	c.refs.Store(0)
	c.worker, c.leaving, c.left.Leftovers = s.Worker, s.Leaving, s.Leftovers
	c.once.Store(true)
	switch {
	case (s.Cgroup != nil) != b.set.counted && owned && !s.Leaving:
		return nil, errors.New("it has a cgroup, and its box has none, or the other way round")
	case s.Holder == nil && (!owned || b.set.processes):
		return nil, errors.New("it has no first process")
	case s.Leaving && s.Holder == nil && s.Cgroup == nil:
		return nil, errors.New("nothing can be left in it")
	}
	if s.Cgroup != nil {
		g := b.template.group
		if g == nil || g.name != s.Cgroup.Service {
			return nil, fmt.Errorf("its cgroup is of service %q, and its box is not", s.Cgroup.Service)
		}
		var err error
		if c.group, err = g.service.RestoreLeaf(s.Cgroup, d); err != nil {
			return nil, err
		}
		m.carry.leaves = append(m.carry.leaves, c.group)
	}
	if err := m.restoreHolder(c, s, owned, d); err != nil {
		return nil, err
	}
	if s.UID != 0 {
		if err := m.users.Claim(s.UID); err != nil {
			return nil, err
		}
		c.uid, c.dynamicUser = s.UID, true
	}
	// An owner has a process in the cell. What is left without a pid namespace has one, too.
	if owned && (!s.Leaving || s.Holder == nil) {
		c.refs.Add(1)
		b.hold()
	}
	return c, nil
}

// restoreHolder gives a cell its first process again, if it has one.
func (m *Manager) restoreHolder(c *cell, s *CellState, owned bool, d *carry.Descriptors) (err error) {
	h := s.Holder
	if h == nil {
		return nil
	}
	ends := !owned || s.Leaving
	if h.PID <= 1 || h.Reaped && ends {
		return fmt.Errorf("its first process cannot be %d", h.PID)
	}
	c.pid = h.PID
	if c.pidfd, err = d.Take(h.PIDFD); err != nil {
		return err
	}
	if c.control, err = d.Take(h.Control); err != nil {
		return err
	}
	if c.pidfd < 0 || (c.control < 0) != ends {
		return errors.New("its first process lacks a descriptor, or has one too many")
	}
	c.box.hold() // until the cell is over
	if !h.Reaped {
		c.refs.Add(1)
		m.holders[c.pid] = append(m.holders[c.pid], c)
	}
	return nil
}

// leaveAgain is Leave of a cell that an earlier master was leaving.
func (c *cell) leaveAgain(done func(process.Remains)) (empty bool) {
	c.done = done
	if c.pidfd < 0 {
		c.box.m.janitor.do(c.empty)
	}
	return false
}

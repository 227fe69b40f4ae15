package box

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/process"
)

// What is not carried:
//
//   - Boxes, with their templates, filters and images: the configuration makes them
//     again. What lives in one needs none of it. The namespaces of a cell are those of
//     its processes, and the files of its mounts are open there.
//   - Idle cells, and those that the janitor was to look at: Pause ends them, because they
//     are only made ahead. Their first processes go over, to be reaped.
//   - What tells a cell that is as new from others: none that was carried is handed out
//     again.
//   - Cgroups without a process. The master that takes over removes them.
//   - What the janitor was to do. All of it follows from what goes over.
//   - Learnings: nobody learns across an upgrade.

// A State is a Manager in the state that a master hands to the next one, but for the cells
// of workers (ExportCell).
type State struct {
	Boxes    []BoxState     `json:"boxes"`
	Cells    []CellState    `json:"cells"`  // that end, and that nobody waits for
	Probes   []int          `json:"probes"` // pids of processes that have tried a box
	Reports  *ReportsState  `json:"reports"`
	Observer *observe.State `json:"observer"`
	Cgroups  *cgroup.State  `json:"cgroups"`
	Alarm    *AlarmState    `json:"alarm,omitempty"`
}

// A BoxState is what the cells of a box need of it. Cells refer to it by its place.
type BoxState struct {
	Service     string `json:"service"` // whose cgroup it has; "" for none
	PrivatePIDs bool   `json:"private_pids"`
	Cgroup      bool   `json:"cgroup"`   // each process has one
	Siblings    bool   `json:"siblings"` // see settings
	Subject     uint32 `json:"subject"`  // the number of what its filter tells of, 0 without one
}

// A CellState is a cell.
type CellState struct {
	Box       int               `json:"box"`
	UID       uint32            `json:"uid"` // of the pool, 0 for none
	Worker    int               `json:"worker"`
	Holder    *HolderState      `json:"holder"`
	Cgroup    *cgroup.LeafState `json:"cgroup"`
	Leaving   bool              `json:"leaving"` // what its process has left is being ended
	Leftovers int               `json:"leftovers"`
}

// A HolderState is the first process of a cell.
type HolderState struct {
	PID     int      `json:"pid"`
	PIDFD   carry.FD `json:"pidfd"`
	Control carry.FD `json:"control"` // none if the cell ends
	Reaped  bool     `json:"reaped"`  // somebody has killed it
}

// An AlarmState is an alarm in the state that a master hands to the next one.
type AlarmState struct {
	In   carry.FD `json:"in"`
	Held carry.FD `json:"held"`
}

// A ReportsState is where entries say why they have failed.
type ReportsState struct {
	In   carry.FD      `json:"in"`
	Out  carry.FD      `json:"out"`
	Read []ReportState `json:"read"`
}

// A ReportState is a report that was read and that nobody has asked for.
type ReportState struct {
	PID    int    `json:"pid"`
	Action uint16 `json:"action"`
	Number uint16 `json:"number"`
	Errno  int    `json:"errno"`
}

// carried is what a Manager knows of an upgrade. The lock of the Manager guards it.
type carried struct {
	boxes  []*Box         // by the numbers that a state has for them
	lent   []int          // copies of parked descriptors, which are closed if nobody takes over
	leaves []*cgroup.Leaf // whose descriptors are to be parked
	groups []*group       // that are held until there are boxes which use them
}

// Export returns the state of the Manager, which must be paused.
func (m *Manager) Export(d *carry.Descriptors) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s State
	for _, b := range m.carry.boxes {
		s.Boxes = append(s.Boxes, b.export())
	}
	for _, pid := range slices.Sorted(maps.Keys(m.holders)) {
		for _, c := range m.holders[pid] {
			if c.refs.Load() > 1 || c.leaving {
				continue // its owner exports it
			}
			one, err := m.exportCell(c, d)
			if err != nil {
				return State{}, err
			}
			s.Cells = append(s.Cells, one)
		}
	}
	s.Probes = slices.Sorted(maps.Keys(m.probes))
	if m.shared != nil {
		s.Reports = m.shared.reports.export(d)
		s.Observer = m.shared.observing.export(d)
		s.Alarm = m.shared.alarm.export(d)
	}
	s.Cgroups = m.groups.export(d)
	return s, nil
}

// ExportCell returns the state of the cell of a worker, which has not been reaped, or whose
// cell is not over. The Manager must be paused, and the cell's descriptors must not be parked.
func (m *Manager) ExportCell(pc process.Cell, d *carry.Descriptors) (json.RawMessage, error) {
	c, ok := pc.(*cell)
	if !ok {
		return nil, fmt.Errorf("a cell of type %T is of no box", pc)
	}
	m.mu.Lock()
	s, err := m.exportCell(c, d)
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// exportCell returns the state of a cell. The lock is held.
func (m *Manager) exportCell(c *cell, d *carry.Descriptors) (CellState, error) {
	s := CellState{Box: slices.Index(m.carry.boxes, c.box), Worker: c.worker, Leaving: c.leaving, Leftovers: c.left.Leftovers}
	switch {
	case s.Box < 0:
		return s, fmt.Errorf("the box of the cell of process %d is not known", c.worker)
	case c.refs.Load() <= 0:
		return s, fmt.Errorf("the cell of process %d is over", c.worker)
	case c.parked != nil:
		return s, fmt.Errorf("the descriptors of the cell of process %d are parked", c.worker)
	}
	if c.dynamicUser {
		s.UID = c.uid
	}
	if c.pidfd >= 0 {
		s.Holder = &HolderState{PID: c.pid, PIDFD: d.Keep(c.pidfd), Control: carry.None, Reaped: !slices.Contains(m.holders[c.pid], c)}
		if c.refs.Load() > 1 || s.Holder.Reaped {
			s.Holder.Control = d.Keep(c.control)
		}
	}
	if c.group == nil {
		return s, nil
	}
	leaf, lent, err := c.group.Export(c.box.service, m.groups.lend, d)
	if err != nil {
		return s, err
	}
	if lent >= 0 {
		m.carry.lent = append(m.carry.lent, lent)
	}
	s.Cgroup = &leaf
	return s, nil
}

func (b *Box) export() BoxState {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BoxState{Service: b.service, PrivatePIDs: b.set.processes, Cgroup: b.set.counted, Siblings: b.set.siblings}
	if b.template != nil {
		s.Subject = b.template.subject
	}
	return s
}

func (r *reports) export(d *carry.Descriptors) *ReportsState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &ReportsState{In: d.Keep(r.in), Out: d.Keep(r.out)}
	for _, pid := range slices.Sorted(maps.Keys(r.read)) {
		f := r.read[pid]
		s.Read = append(s.Read, ReportState{pid, uint16(f.Step.Action), f.Step.Number, int(f.Errno)})
	}
	return s
}

func (o *observing) export(d *carry.Descriptors) *observe.State {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by == nil {
		return nil
	}
	s := o.by.Export(d)
	return &s
}

func (g *groups) export(d *carry.Descriptors) *cgroup.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.root == nil {
		return nil
	}
	return g.root.Export(slices.Sorted(maps.Keys(g.services)), d)
}

// lend copies a descriptor of a leaf into the table of this process.
func (g *groups) lend(parked int) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.park.Lend(parked)
}

// decodeCell reads what ExportCell has written.
func decodeCell(text []byte) (*CellState, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var s *CellState
	err := decoder.Decode(&s)
	if err == nil && s == nil {
		err = errors.New("there is none")
	}
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the state of a cell: %w", err)
	}
	return s, nil
}

// closeLent closes what was copied for a master that does not take over.
func (c *carried) closeLent() {
	for _, fd := range c.lent {
		unix.Close(fd)
	}
	c.lent = nil
}

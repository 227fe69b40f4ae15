package workers

import (
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/process"
)

// What is left of a worker in a box is in its cell, whose end is the box's business
// (process.Cell). If nothing can leave the cell, that takes the place of what
// leftovers.go does.

// Holders know which children of this process keep cells of boxes. They are neither
// workers nor orphans.
type Holders interface {
	// HolderReaped takes in that a child was reaped that is no worker, and reports
	// whether it was one of these.
	HolderReaped(pid int) bool
	IsHolder(pid int) bool
}

// UseHolders tells the set of the Holders. It is called before any worker is
// registered.
func (s *Set) UseHolders(h Holders) { s.holders = h }

func (s *Set) holderReaped(pid int) bool {
	return !s.table.has(pid) && s.holders != nil && s.holders.HolderReaped(pid)
}

// cells are the cells of workers that have ended, and that end themselves.
type cells struct {
	leaving map[*Worker]process.Exit // the loop owns it

	mu   sync.Mutex // guards what follows
	over []cellOver
	wake chan struct{}
}

type cellOver struct {
	worker  *Worker
	remains process.Remains
}

// leaveCell gives the cell back of a worker that was reaped. If something is left
// there that ends now, TakeCells tells the Sink of the worker's end.
func (s *Set) leaveCell(w *Worker, cell process.Cell, exit process.Exit) {
	remains, empty := cell.Leave(func(r process.Remains) { s.cells.note(w, r) })
	if empty {
		w.remains = remains
		s.sink.Exited(w, exit)
		return
	}
	s.cells.leaving[w] = exit
}

// note takes in that the cell of a worker is empty.
func (c *cells) note(w *Worker, r process.Remains) {
	c.mu.Lock()
	c.over = append(c.over, cellOver{w, r})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// empty returns the cells that are empty and were not taken.
func (c *cells) empty() map[*Worker]process.Remains {
	c.mu.Lock()
	defer c.mu.Unlock()
	empty := map[*Worker]process.Remains{}
	for _, o := range c.over {
		empty[o.worker] = o.remains
	}
	return empty
}

// CellsOver returns a channel that has something when TakeCells is to be called.
func (s *Set) CellsOver() <-chan struct{} { return s.cells.wake }

// TakeCells tells the Sink of the workers whose cells are empty by now.
func (s *Set) TakeCells() {
	s.cells.mu.Lock()
	over := s.cells.over
	s.cells.over = nil
	s.cells.mu.Unlock()
	for _, o := range over {
		exit := s.cells.leaving[o.worker]
		delete(s.cells.leaving, o.worker)
		o.worker.remains = o.remains
		s.sink.Exited(o.worker, exit)
	}
}

// leaveShared gives back what a worker has of a box that others can be in.
func (w *Worker) leaveShared() {
	if cell := w.child.Cell; cell != nil && !cell.Holds() {
		w.remains, _ = cell.Leave(nil)
	}
}

// Usage returns what the worker and all that it has started have used in its box, or
// nil if nobody has counted. It is known when the worker's end is told of.
func (w *Worker) Usage() *process.CellUsage { return w.remains.Usage }

// CPUTime returns what the worker has used so far: with all that it has started, if
// its box counts that, and otherwise by itself and those of its children that it has
// waited for. The worker must not have been reaped.
func (w *Worker) CPUTime() time.Duration {
	if cell := w.child.Cell; cell != nil {
		if t, known := cell.CPUTime(); known {
			return t
		}
	}
	return process.CPUTime(w.child.Pid)
}

package workers

import (
	"iter"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/fdpark"
)

// TakeBack has the parked descriptors come back among the master's ahead of a Pause, which
// then has little to do. They are parked again by Resume, or when some more workers serve.
func (s *Set) TakeBack() error {
	err := s.takeBack()
	s.findCandidates()
	s.parking.enough = len(s.parking.candidates) + parkBatch
	return err
}

// Pause has nothing that a worker says or sends be read, and nothing be closed that
// lingers, until Resume. What was told already, over Ready and the like, waits there.
// Parked descriptors come back among the master's. The loop calls nothing of the set
// meanwhile but what only asks, and Export. Nobody gives a worker a connection.
//
// On error nothing is paused: there may be too little room for the descriptors.
func (s *Set) Pause() error {
	for w := range s.every() {
		if r := w.stderr; r != nil {
			r.reading.Lock()
			s.paused = append(s.paused, r)
		}
	}
	s.linger.Pause()
	if err := s.takeBack(); err != nil {
		s.Resume()
		return err
	}
	return nil
}

// Resume ends Pause, and what Restore has begun. Descriptors that have come back are
// parked again when there are many.
func (s *Set) Resume() {
	now := time.Now()
	for _, r := range s.paused {
		r.reading.Unlock()
	}
	s.paused = nil
	s.linger.Resume()
	s.findCandidates()
	s.stops.schedule() // one may have been stopped meanwhile
	s.begin(now)
	s.parkMany(now)
}

// begin begins what a restored set has not done yet.
func (s *Set) begin(now time.Time) {
	r := s.restored
	s.restored = restored{}
	for _, reader := range r.readers {
		go reader.run()
	}
	for _, w := range r.watch {
		s.watch(w)
	}
	for _, p := range r.pools {
		p.Close(now) // its spares are told to go
	}
	for _, w := range r.cells {
		exit := s.cells.leaving[w]
		delete(s.cells.leaving, w)
		s.leaveCell(w, w.child.Cell, exit)
	}
	s.leftovers.due = s.leftovers.due || len(s.leftovers.leaving) > 0
}

// every returns the workers, those included that have ended and of which something is
// left.
func (s *Set) every() iter.Seq[*Worker] {
	return func(yield func(*Worker) bool) {
		for _, some := range []iter.Seq[*Worker]{s.All(), s.Leaving()} {
			for w := range some {
				if !yield(w) {
					return
				}
			}
		}
	}
}

// takeBack moves all that is parked to the master's descriptors. On error a part of it
// has moved.
func (s *Set) takeBack() error {
	thread := s.parking.thread
	if thread == nil {
		return nil
	}
	var (
		parked []int
		groups []parkedGroup
	)
	flush := func() error {
		fds, err := thread.TakeBack(parked)
		for _, g := range groups {
			if err == nil {
				g.takenBack(fds[:len(g.fds)])
				fds = fds[len(g.fds):]
			}
		}
		parked, groups = parked[:0], groups[:0]
		return err
	}
	empty := s.cells.empty()
	for w := range s.every() {
		_, over := empty[w]
		for _, g := range w.parked(over) {
			// Those of a group move together or not at all.
			if len(parked)+len(g.fds) > fdpark.MaxTogether {
				if err := flush(); err != nil {
					return err
				}
			}
			parked, groups = append(parked, g.fds...), append(groups, g)
		}
	}
	return flush()
}

// A parkedGroup is descriptors of a worker that are parked, and belong together.
type parkedGroup struct {
	fds       []int
	takenBack func(fds []int)
}

// parked returns what of the worker is parked. cellEmpty says that its cell has ended,
// and has nothing any more.
func (w *Worker) parked(cellEmpty bool) (groups []parkedGroup) {
	add := func(takenBack func(fds []int), fds ...int) {
		groups = append(groups, parkedGroup{fds, takenBack})
	}
	if fd, near := w.channel.descriptor(); fd > 0 && !near {
		add(func(fds []int) { w.channel.takenBack(fds[0]) }, fd)
	}
	if w.parkedCopy.thread != nil {
		add(func(fds []int) { w.copyTakenBack(fds[0]) }, w.parkedCopy.fd)
	}
	if cell := w.child.Cell; cell != nil && !cellEmpty {
		if fds := cell.ParkedDescriptors(); len(fds) > 0 {
			add(cell.TakenBack, fds...)
		}
	}
	return groups
}

// findCandidates finds whose descriptors may be parked.
func (s *Set) findCandidates() {
	p := &s.parking
	p.candidates, p.enough = nil, parkThreshold+parkBatch
	for w := range s.All() {
		if w.State() == Serving && !w.Reusable() && w.isNear() {
			p.candidates = append(p.candidates, w)
		}
	}
	slices.SortStableFunc(p.candidates, func(a, b *Worker) int { return a.stateSince().Compare(b.stateSince()) })
}

package stderr

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// maxWriters bounds how many processes have their last lines remembered. It
// matters only for those that are no workers and have ended.
const maxWriters = 4096

// A writer is a worker with the processes that belong to it.
type writer struct {
	lines Lines
	tail  Tail
	last  time.Time // when it wrote last
	// unended says that it is among those of Relay.unended.
	unended bool
}

// add takes in what the worker with a given pid has written. r.mu is held.
func (r *Relay) add(leader int, piece []byte, now time.Time) {
	w := r.byLeader[leader]
	if w == nil {
		if len(r.byLeader) >= maxWriters {
			r.evict()
		}
		w = &writer{lines: Lines{Wrap: true}}
		r.byLeader[leader] = w
		r.writers.Store(int64(len(r.byLeader)))
	}
	w.last = now
	w.lines.Add(piece, r.each(w))
	if w.lines.Pending() && !w.unended {
		w.unended = true
		r.unended = append(r.unended, leader)
	}
}

// endLines ends the lines that nobody will end any more, because their writers
// are gone. All that they wrote has been read. r.mu is held.
func (r *Relay) endLines() {
	for _, leader := range r.unended {
		w := r.byLeader[leader]
		if w == nil {
			continue
		}
		w.unended = false
		if leader > 0 && unix.Kill(leader, 0) == unix.ESRCH {
			w.lines.Flush(r.each(w))
		}
	}
	r.unended = r.unended[:0]
}

// each returns what is done with a line of a writer. r.mu is held.
func (r *Relay) each(w *writer) func([]byte, bool) {
	return func(line []byte, _ bool) {
		w.tail.Add(line, w.last)
		if r.forward != nil {
			r.forward(append(line, '\n'))
		}
	}
}

// evict forgets the half of the writers that wrote longest ago. r.mu is held.
func (r *Relay) evict() {
	type seen struct {
		leader int
		last   time.Time
	}
	all := make([]seen, 0, len(r.byLeader))
	for leader, w := range r.byLeader {
		all = append(all, seen{leader, w.last})
	}
	slices.SortFunc(all, func(a, b seen) int { return cmp.Compare(a.last.UnixNano(), b.last.UnixNano()) })
	for _, s := range all[:len(all)/2] {
		r.forget(s.leader)
	}
}

// forget ends the line of a writer, and forgets the writer. r.mu is held.
func (r *Relay) forget(leader int) {
	if w := r.byLeader[leader]; w != nil {
		w.lines.Flush(r.each(w))
		delete(r.byLeader, leader)
		r.writers.Store(int64(len(r.byLeader)))
	}
}

package master

import (
	"time"

	"github.com/preforkd/preforkd/master/process"
)

// To find who has ended, the kernel walks all children of a process, once for
// each exit that it finds and once more to find that there is none: with 10,000
// of them that is one to three milliseconds a time, many times what a connection
// costs otherwise. So where there are many
//
//  1. the youngest workers are asked for by their pids, which the kernel finds
//     at once: most connections are short, and most that are old stay;
//  2. a walk is followed by a pause of many times its length, and finds
//     everybody who has ended meanwhile. A slot may be free that much later.
const (
	manyWorkers = 512
	youngest    = 64
	// walkPause is how many times longer than a walk the pause is, and maxPause
	// how long a slot may stay taken for it.
	walkPause = 100
	maxPause  = 250 * time.Millisecond
)

// A reaper remembers whom to look for first, and when to look for all. The loop
// owns it.
type reaper struct {
	young  [youngest]int // pids that were registered last, in a ring
	next   int
	walk   time.Duration // what a walk takes
	walked time.Time     // when the last one has ended
	timer  *time.Timer   // of the next walk; nil until one was put off
	later  <-chan time.Time
}

// born takes note of a worker that was registered.
func (r *reaper) born(pid int) {
	r.young[r.next] = pid
	r.next = (r.next + 1) % youngest
}

// putOff has the loop walk after a pause.
func (r *reaper) putOff(pause time.Duration) {
	if r.later != nil {
		return
	}
	if r.timer == nil {
		r.timer = time.NewTimer(pause)
	} else {
		r.timer.Reset(pause)
	}
	r.later = r.timer.C
}

// childEnded reaps after SIGCHLD: everybody, or where there are many the
// youngest, and the others soon.
func (m *Master) childEnded() {
	pause := min(walkPause*m.reaper.walk, maxPause) - time.Since(m.reaper.walked)
	if len(m.table.workers) < manyWorkers || m.stop.phase != running || pause <= 0 {
		m.reap()
		return
	}
	m.takeSpawns()
	for _, pid := range m.reaper.young {
		if m.table.has(pid) {
			if exit, ended := process.ExitOf(pid); ended {
				m.exited(exit)
			}
		}
	}
	m.reaper.putOff(pause)
}

// reap collects every child that has ended.
func (m *Master) reap() {
	m.takeSpawns()
	begun, walks := time.Now(), 1
	for exit := range process.Exits() {
		m.exited(exit)
		walks++
	}
	m.reaper.walked, m.reaper.later = time.Now(), nil
	m.reaper.walk = m.reaper.walked.Sub(begun) / time.Duration(walks)
	for m.spawns.expect(len(m.table.early) > 0) {
		m.takeSpawns()
	}
	m.settle()
}

// exited takes in that a child has been reaped.
func (m *Master) exited(exit process.Exit) {
	delete(m.stop.signalled, exit.Pid) // the number may come again
	if w := m.table.exited(exit); w != nil {
		m.ended(w, exit)
	}
}

// settle reports the children that have turned out to be nobody's worker.
func (m *Master) settle() {
	for _, exit := range m.table.settle(m.spawning.Load() > 0) {
		m.stranger(exit)
	}
}

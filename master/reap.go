package master

import (
	"slices"
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
	// maxCuts is how many walks in a row may end before all are collected.
	maxCuts = 4
)

// A reaper remembers whom to look for first, and when to look for all. The loop
// owns it.
type reaper struct {
	young  [youngest]int // pids that were registered last, in a ring
	next   int
	walk   time.Duration // what a walk takes
	walked time.Time     // when the last one has ended
	cuts   int           // walks in a row that ended early
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

// ended takes note of walks that have just ended.
func (r *reaper) ended(begun time.Time, walks int) {
	r.walked, r.later = time.Now(), nil
	r.walk = r.walked.Sub(begun) / time.Duration(walks)
}

// pause is how long the next walk is to wait from now.
func (r *reaper) pause() time.Duration {
	return min(walkPause*r.walk, maxPause) - time.Since(r.walked)
}

// childEnded reaps after SIGCHLD: everybody, or where there are many the
// youngest, and the others soon.
func (m *Master) childEnded() {
	if !m.hasMany() {
		m.reap()
		return
	}
	pause := m.reaper.pause()
	if pause <= 0 {
		m.reapMany()
		return
	}
	m.takeSpawns()
	m.reapYoung()
	m.reaper.putOff(pause)
}

// walkIsDue reaps when the pause after a walk is over.
func (m *Master) walkIsDue() {
	if m.hasMany() {
		m.reapMany()
	} else {
		m.reap()
	}
}

// hasMany reports whether a walk over all children is dear. A master that stops
// walks nevertheless.
func (m *Master) hasMany() bool {
	return len(m.table.workers) >= manyWorkers && m.stop.phase == running
}

// reapYoung collects the youngest that have ended.
func (m *Master) reapYoung() {
	for _, pid := range m.reaper.young {
		if m.table.has(pid) {
			if exit, ended := process.ExitOf(pid); ended {
				m.exited(exit)
			}
		}
	}
}

// reapMany is reap where there are many. While the kernel walks over all, some
// of the youngest end, and each that is found so costs another walk: that would
// go on for as long as they end faster than it walks. They are found by their
// pids, so the first of them ends it, and the next walk is for who is left; but
// not time and again, as the kernel does not walk by age alone.
func (m *Master) reapMany() {
	m.takeSpawns()
	m.reapYoung()
	begun, walks, cut := time.Now(), 1, false
	for exit := range process.Exits() {
		cut = m.reaper.cuts < maxCuts && slices.Contains(m.reaper.young[:], exit.Pid)
		m.exited(exit)
		if cut {
			break
		}
		walks++
	}
	m.reaper.ended(begun, walks)
	if cut {
		m.reaper.cuts++
		m.reaper.putOff(m.reaper.pause())
	} else {
		m.reaper.cuts = 0
	}
	m.reapYoung()
	m.takeEarly()
}

// reap collects every child that has ended.
func (m *Master) reap() {
	m.takeSpawns()
	begun, walks := time.Now(), 1
	for exit := range process.Exits() {
		m.exited(exit)
		walks++
	}
	m.reaper.ended(begun, walks)
	m.takeEarly()
}

// takeEarly takes in the spawns that exits may belong to which nobody has come
// for, and reports those that are nobody's.
func (m *Master) takeEarly() {
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

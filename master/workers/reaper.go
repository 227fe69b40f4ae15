package workers

import (
	"iter"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/process"
)

// To find who has ended, wait4(-1) scans all children of a process, once for
// each exit that it returns and once more to find that there is none: with
// 10,000 children that is one to three milliseconds a time, many times what a
// connection costs otherwise. So when there are many workers
//
//  1. those that were registered last are asked for by their pids, which the
//     kernel finds at once: most connections are short, and most workers that
//     are old stay;
//  2. a full scan is followed by a pause of many times its length, and finds
//     everybody who has ended meanwhile. A slot may be free that much later.
const (
	largeSet   = 512 // with so many workers a full scan is expensive
	recentSize = 64  // so many are asked for by pid

	scanPauseFactor = 100 // how many times longer than a scan the pause after it is
	maxScanPause    = 250 * time.Millisecond
	maxPartialScans = 4 // so many scans in a row may end before all are reaped
)

// A reaper decides whom to ask for, and when to scan. The loop owns it. It calls
// exited for each child that it has reaped.
type reaper struct {
	waitAll func() iter.Seq[process.Exit]
	waitPID func(pid int) (process.Exit, bool)
	has     func(pid int) bool // is the pid a worker's
	exited  func(process.Exit)

	recent       [recentSize]int // pids that were registered last, in a ring
	next         int
	scanTook     time.Duration // of one scan over all children
	scannedAt    time.Time     // when the last scan has ended
	partialScans int           // scans in a row that ended early
	timer        *time.Timer   // of the next scan; nil until one was scheduled
	due          <-chan time.Time
}

// registered notes that a worker was registered.
func (r *reaper) registered(pid int) {
	r.recent[r.next] = pid
	r.next = (r.next + 1) % recentSize
}

// schedule has due tell when a scan is to be made, after a pause.
func (r *reaper) schedule(pause time.Duration) {
	if r.due != nil {
		return
	}
	if r.timer == nil {
		r.timer = time.NewTimer(pause)
	} else {
		r.timer.Reset(pause)
	}
	r.due = r.timer.C
}

// scanned notes that scans have just ended.
func (r *reaper) scanned(begun time.Time, scans int) {
	r.scannedAt, r.due = time.Now(), nil
	r.scanTook = r.scannedAt.Sub(begun) / time.Duration(scans)
}

// pause is how long the next scan has to wait from now on.
func (r *reaper) pause() time.Duration {
	return min(scanPauseFactor*r.scanTook, maxScanPause) - time.Since(r.scannedAt)
}

// all reaps every child that has ended.
func (r *reaper) all() {
	begun, scans := time.Now(), 1
	for exit := range r.waitAll() {
		r.exited(exit)
		scans++
	}
	r.scanned(begun, scans)
}

// some reaps the recent workers that have ended, and leaves the others to a scan
// after a pause. It reports false when that pause is over already: then large
// is due.
func (r *reaper) some() bool {
	pause := r.pause()
	if pause <= 0 {
		return false
	}
	r.recentOnes()
	r.schedule(pause)
	return true
}

// recentOnes reaps the recent workers that have ended.
func (r *reaper) recentOnes() {
	for _, pid := range r.recent {
		if r.has(pid) {
			if exit, ended := r.waitPID(pid); ended {
				r.exited(exit)
			}
		}
	}
}

// large is all for many children. Recent workers end while the kernel scans, and
// each exit that is found so costs one more scan: with enough of them that would
// never end. They can be reaped by pid instead, so the first recent worker that
// a scan returns ends it, and the next scan, after a pause, is for the others.
// After maxPartialScans in a row one scan goes on to the end, because the kernel
// does not scan by age alone.
func (r *reaper) large() {
	r.recentOnes()
	begun, scans, partial := time.Now(), 1, false
	for exit := range r.waitAll() {
		partial = r.partialScans < maxPartialScans && slices.Contains(r.recent[:], exit.Pid)
		r.exited(exit)
		if partial {
			break
		}
		scans++
	}
	r.scanned(begun, scans)
	if partial {
		r.partialScans++
		r.schedule(r.pause())
	} else {
		r.partialScans = 0
	}
	r.recentOnes()
}

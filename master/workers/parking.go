package workers

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/fdpark"
	"github.com/preforkd/preforkd/master/logging"
)

// For each live worker the master has a control channel, or a copy of the
// connection, or what its cell has, or some of these. Every spawn copies and closes all descriptors that the
// master has: with 10,000 that takes ten times as long as all the rest. So when
// there are many, those of workers whose connections last are parked: they move to
// a thread with a descriptor table of its own.
const (
	parkThreshold = 256             // so many workers may have descriptors among the master's
	parkBatch     = 64              // of so many they are parked at once
	parkMinAge    = time.Second     // connections that are younger than that may end soon
	parkPause     = 5 * time.Second // after an attempt that failed
)

// mostYoung is how many young workers may have descriptors among the master's: with
// more of them, little is left of RLIMIT_NOFILE for connections to come.
func mostYoung() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return parkThreshold + parkBatch
	}
	return int(min(max(parkThreshold+parkBatch, limit.Cur/4), 4096))
}

// parking knows which workers may have descriptors among the master's, and where
// the others' are. The loop owns it.
type parking struct {
	thread     *fdpark.Thread // nil until it is needed
	failed     bool           // the log says that descriptors stay where they are
	retryAt    time.Time      // no attempt before this: there was no thread, or no room
	enough     int            // candidates that are worth a look
	candidates []*Worker      // whose descriptors may be parked, the longest serving first; not pids, which are used again
}

// ParkIfIdle remembers a worker that now serves its last connection: from then on
// only the loop uses its descriptors, and hardly ever. If more than parkThreshold
// such workers have descriptors among the master's, those of the oldest are parked.
// Channels for which there is no room now are tried again later; copies are given
// up.
func (s *Set) ParkIfIdle(w *Worker, now time.Time) {
	p := &s.parking
	if w.State() != Serving || w.Reusable() || !w.isNear() {
		return
	}
	p.candidates = append(p.candidates, w)
	s.parkMany(now)
}

// parkMany parks descriptors of the oldest candidates, if there are more of them than
// parkThreshold.
func (s *Set) parkMany(now time.Time) {
	p := &s.parking
	if len(p.candidates) < p.enough {
		return
	}
	p.enough = parkThreshold + parkBatch
	if len(p.candidates) < p.enough {
		return
	}
	var old []*Worker
	n, young := 0, len(p.candidates) >= mostYoung()
	for ; n < len(p.candidates)-parkThreshold; n++ {
		w := p.candidates[n]
		if !w.isNear() {
			continue // most connections are short
		}
		w.mu.Lock()
		age := now.Sub(w.since)
		w.mu.Unlock()
		if age < parkMinAge && !young {
			break
		}
		old = append(old, w)
	}
	clear(p.candidates[:n])
	p.candidates = p.candidates[n:]
	if len(old) == 0 {
		return
	}
	var err error
	if !now.Before(p.retryAt) {
		if err = p.park(old); err == nil {
			p.failed = false
			return
		}
		if !p.failed {
			s.log.Warn("control channels stay where every spawn has to copy them", logging.Error(err))
		}
		p.failed, p.retryAt = true, now.Add(parkPause)
	}
	for _, w := range old {
		if w.copyNear() >= 0 {
			s.giveUpCopy(w, w.Connection())
		}
	}
	old = slices.DeleteFunc(old, func(w *Worker) bool { return !w.isNear() })
	p.candidates = slices.Insert(p.candidates, 0, old...)
	// Not for every connection from now on.
	p.enough = len(p.candidates) + parkBatch
}

// isNear reports whether the worker has a descriptor among the master's.
func (w *Worker) isNear() bool {
	if _, near := w.channel.descriptor(); near {
		return true
	}
	return w.copyNear() >= 0 || len(w.cellNear()) > 0
}

// cellNear returns the descriptors of the worker's cell that are among the master's. The
// cell of a worker that was reaped was given back, and somebody else may have it by now.
func (w *Worker) cellNear() []int {
	if w.reaped || w.child.Cell == nil {
		return nil
	}
	return w.child.Cell.Descriptors()
}

// park moves descriptors to the thread, which is started when it is needed first.
func (p *parking) park(workers []*Worker) error {
	if p.thread == nil {
		var err error
		if p.thread, err = fdpark.Open(); err != nil {
			return err
		}
	}
	type group struct {
		size  int
		moved func(fds []int)
	}
	var fds []int
	var groups []group
	add := func(moved func(fds []int), near ...int) {
		fds, groups = append(fds, near...), append(groups, group{len(near), moved})
	}
	for _, w := range workers {
		if fd, near := w.channel.descriptor(); near {
			add(func(fds []int) { w.channel.moved(p.thread, fds[0]) }, fd)
		}
		if fd := w.copyNear(); fd >= 0 {
			add(func(fds []int) { w.copyParked(p.thread, fds[0]) }, fd)
		}
		if near := w.cellNear(); len(near) > 0 {
			add(func(fds []int) { w.child.Cell.Parked(p.thread.Do, fds) }, near...)
		}
	}
	parked, err := p.thread.Park(fds)
	for _, g := range groups {
		if len(parked) < g.size {
			break
		}
		g.moved(parked[:g.size])
		parked = parked[g.size:]
	}
	if len(parked) > 0 { // some of a group
		p.thread.Do(func() {
			for _, fd := range parked {
				unix.Close(fd)
			}
		})
	}
	return err
}

func (p *parking) close() {
	if p.thread != nil {
		p.thread.Close()
	}
}

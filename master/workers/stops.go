package workers

import (
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/process"
)

// stopDelay is how long after a SIGCHLD the kernel is asked for stopped children.
// To find them it looks at all children, as for a full scan (reaper.go), so they
// are asked for once in that time, and not at all while no SIGCHLD comes.
const stopDelay = time.Second

// maxEarlyStops bounds the stopped children that are not registered.
const maxEarlyStops = 1024

// stops knows which workers are stopped by a signal: they do nothing, and their
// clients wait. The loop owns it.
type stops struct {
	next    func() (process.Stop, bool)
	workers map[int]*Worker // that are stopped, by pid
	early   map[int]unix.Signal
	timer   *time.Timer // nil until one was scheduled
	due     <-chan time.Time
}

func newStops() stops {
	return stops{next: process.NextStop, workers: map[int]*Worker{}, early: map[int]unix.Signal{}}
}

// schedule has due tell when the kernel is to be asked.
func (s *stops) schedule() {
	if s.due != nil {
		return
	}
	if s.timer == nil {
		s.timer = time.NewTimer(stopDelay)
	} else {
		s.timer.Reset(stopDelay)
	}
	s.due = s.timer.C
}

// StopsDue returns a channel that has something when CheckStops is to be called;
// it is nil while that has no use.
func (s *Set) StopsDue() <-chan time.Time { return s.stops.due }

// CheckStops tells the Sink which workers were stopped by a signal since the last
// call, and which go on.
func (s *Set) CheckStops() {
	s.stops.due = nil
	// A child that stops and goes on all the time must not keep the loop busy.
	for range 2*len(s.table.workers) + maxEarlyStops {
		stop, ok := s.stops.next()
		if !ok {
			return
		}
		w := s.table.workers[stop.Pid]
		switch {
		case w == nil && stop.Continued:
			delete(s.stops.early, stop.Pid)
		case w == nil && len(s.stops.early) < maxEarlyStops:
			s.stops.early[stop.Pid] = stop.Signal
		case w == nil:
		case stop.Continued:
			s.goesOn(w)
		default:
			s.stopped(w, stop.Signal)
		}
	}
	s.stops.schedule()
}

func (s *Set) stopped(w *Worker, sig unix.Signal) {
	known := w.stoppedBy != 0
	w.stoppedBy = sig
	s.stops.workers[w.child.Pid] = w
	if !known {
		s.sink.Stopped(w)
	}
}

func (s *Set) goesOn(w *Worker) {
	if w.stoppedBy != 0 {
		w.stoppedBy = 0
		delete(s.stops.workers, w.child.Pid)
		s.sink.Continued(w)
	}
}

// stoppedEarly tells of a worker that was stopped before it was registered.
func (s *Set) stoppedEarly(w *Worker) {
	if len(s.stops.early) == 0 {
		return
	}
	if sig, ok := s.stops.early[w.child.Pid]; ok {
		delete(s.stops.early, w.child.Pid)
		s.stopped(w, sig)
	}
}

// stopsEnd forgets a child that was reaped.
func (s *Set) stopsEnd(pid int) {
	if len(s.stops.early) > 0 {
		delete(s.stops.early, pid)
	}
	if len(s.stops.workers) > 0 {
		delete(s.stops.workers, pid)
	}
}

// Stopped returns the workers that are stopped by a signal, in no order.
func (s *Set) Stopped() iter.Seq[*Worker] {
	return func(yield func(*Worker) bool) {
		for _, w := range s.stops.workers {
			if !yield(w) {
				return
			}
		}
	}
}

// StoppedBy returns the signal by which the worker is stopped, or 0.
func (w *Worker) StoppedBy() unix.Signal { return w.stoppedBy }

package workers

import (
	"time"

	"github.com/preforkd/preforkd/master/logging"
)

// readDelay is how often channels are read that the kernel does not watch.
const readDelay = 50 * time.Millisecond

// unwatched holds workers whose messages are to be read as they come, and whose
// channels the kernel did not take on: a limit of the user (epoll(7),
// max_user_watches) or of memory. That is no fault of theirs. They are read every
// readDelay, until the kernel takes them on. The loop owns it.
type unwatched struct {
	workers []*Worker
	reason  error // why, while there are some
	timer   *time.Timer
	due     <-chan time.Time
}

// watch has the kernel tell when a worker says something.
func (s *Set) watch(w *Worker) {
	err := s.tryWatch(w)
	if err == nil {
		return
	}
	u := &s.unwatched
	if u.reason == nil {
		s.log.Warn("control channels are read with a delay", logging.Error(err))
	}
	u.reason = err
	u.workers = append(u.workers, w)
	u.schedule()
}

func (s *Set) tryWatch(w *Worker) error {
	fd, near := w.channel.descriptor()
	if !near {
		return nil // it is closed
	}
	return s.poller.watch(fd, w.child.Pid)
}

func (u *unwatched) schedule() {
	if u.timer == nil {
		u.timer = time.NewTimer(readDelay)
	} else {
		u.timer.Reset(readDelay)
	}
	u.due = u.timer.C
}

// UnwatchedDue returns a channel that has something when ReadUnwatched is to be
// called; it is nil while there is no need.
func (s *Set) UnwatchedDue() <-chan time.Time { return s.unwatched.due }

// ReadUnwatched reads what workers have said whose channels the kernel does not
// watch, and asks it again to do so.
func (s *Set) ReadUnwatched() {
	u := &s.unwatched
	u.due = nil
	old := u.workers
	u.workers = nil
	for i, w := range old {
		old[i] = nil
		if w.reaped || w.violation != nil {
			continue
		}
		if err := s.tryWatch(w); err != nil {
			u.reason = err
			u.workers = append(u.workers, w)
		}
		// What was said before the kernel watched, too.
		s.Read(w)
	}
	if len(u.workers) > 0 {
		u.schedule()
		return
	}
	u.reason = nil
	s.log.Info("control channels are watched again")
}

// Unwatched returns why there are workers that are read with a delay, or nil if
// there are none.
func (s *Set) Unwatched() error { return s.unwatched.reason }

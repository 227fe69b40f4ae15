package reloading

import (
	"fmt"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
)

// An Outcome is what a reload has changed, or why it changed nothing.
type Outcome struct {
	Changes control.Reloaded
	Err     error
}

// Waiters are those who want to know what becomes of a reload. Each channel must have
// room for one Outcome: who has asked may be gone by then.
type Waiters []chan<- Outcome

// Tell gives all of them an outcome.
func (ws Waiters) Tell(o Outcome) {
	for _, w := range ws {
		w <- o
	}
}

// A Drain is the drain of a service that was asked for after a reload and before that
// was put in force: the reload is not to undo it.
type Drain struct {
	Service, Reason string
	afterQueued     bool // the reload that waits had been asked for, too
}

// A Queue is the reloads of a master: at most one is under way, and at most one waits,
// which stands for all that were asked for meanwhile. The master's loop owns it.
type Queue struct {
	file        *config.File // that is read again; nil for none
	underWay    bool         // a configuration is being compiled
	queued      bool         // one more is to be compiled after it
	waiters     Waiters      // for what becomes of the one under way
	nextWaiters Waiters      // for the one after it
	drains      []Drain
	failure     string // why the last reload has changed nothing, or ""
	progress    progress
}

// New returns a Queue of reloads of a file, with "" of none.
func New(path string) *Queue {
	q := &Queue{}
	if path != "" {
		q.file = config.NewFile(path)
	}
	return q
}

// File returns what a reload reads, nil for nothing.
func (q *Queue) File() *config.File { return q.file }

// Begin notes that a reload begins while none is under way, and who waits for it. It
// returns the number by which EndGivenUp knows the reload.
func (q *Queue) Begin(waiters Waiters, now time.Time) (attempt int) {
	q.underWay, q.waiters = true, waiters
	q.progress.begin(now)
	return q.progress.attempt
}

// UnderWay reports whether a reload is under way.
func (q *Queue) UnderWay() bool { return q.underWay }

// Overdue reports whether a reload is under way that takes too long.
func (q *Queue) Overdue() bool { return q.underWay && q.progress.overdue }

// Enqueue has one more reload follow the one under way, and notes who waits for it.
func (q *Queue) Enqueue(waiters Waiters) {
	q.queued = true
	q.nextWaiters = append(q.nextWaiters, waiters...)
}

// TakeQueued takes the reload that waits, if there is one, out of the queue, and returns
// who waits for it. The caller begins it, or tells them why not.
func (q *Queue) TakeQueued() (waiters Waiters, queued bool) {
	waiters, queued = q.nextWaiters, q.queued
	q.nextWaiters, q.queued = nil, false
	return waiters, queued
}

// End notes that the reload under way has ended, and returns those who wait for it. The
// caller tells them.
func (q *Queue) End() Waiters {
	waiters := q.waiters
	q.underWay, q.waiters = false, nil
	q.progress.end()
	return waiters
}

// EndGivenUp notes that a reload has ended, if it is one that was given up, and reports
// whether it is: then its result counts for nothing.
func (q *Queue) EndGivenUp(attempt int) bool { return q.progress.endGivenUp(attempt) }

// Timeout returns a channel that has something once the reload under way takes too long;
// nil while none is under way, and after MarkOverdue.
func (q *Queue) Timeout() <-chan time.Time { return q.progress.timeout }

// MarkOverdue notes that the reload under way takes too long, and returns its beginning.
func (q *Queue) MarkOverdue() (since time.Time) {
	q.progress.markOverdue()
	return q.progress.since
}

// TellOverdue tells those who wait for the reload under way that it takes too long. They
// wait no longer.
func (q *Queue) TellOverdue() {
	q.waiters.Tell(Outcome{Err: control.Errorf(control.Unavailable,
		"not reloaded yet: %v; the log will say what becomes of it", stalledError(q.progress.since))})
	q.waiters = nil
}

// GiveUp gives up the reload under way, which is overdue, so that the caller can begin
// another one. It returns an error, and that reload stays the one under way, while an
// earlier one has not ended that was given up. The reload that waited must have been
// taken before (TakeQueued).
func (q *Queue) GiveUp() error {
	err := q.progress.giveUp()
	if err == nil {
		q.underWay = false
		// Those that were asked for before the next reload are undone by that.
		q.drains = slices.DeleteFunc(q.drains, func(d Drain) bool { return !d.afterQueued })
	}
	for i := range q.drains {
		q.drains[i].afterQueued = false // what waited is the next one, or was refused
	}
	return err
}

// NoteDrain remembers a drain if a reload is under way.
func (q *Queue) NoteDrain(service, reason string) {
	if q.underWay {
		q.drains = append(q.drains, Drain{service, reason, q.queued})
	}
}

// ForgetDrain forgets the drains of a service, which was brought back.
func (q *Queue) ForgetDrain(service string) {
	q.drains = slices.DeleteFunc(q.drains, func(d Drain) bool { return d.Service == service })
}

// TakeDrains returns the drains that the reload that has just ended is not to undo. Those
// that the one after it is not to undo either are kept for that.
func (q *Queue) TakeDrains() []Drain {
	taken := q.drains
	q.drains = nil
	for _, d := range taken {
		if d.afterQueued {
			q.drains = append(q.drains, Drain{d.Service, d.Reason, false})
		}
	}
	return taken
}

// SetFailure notes why the last reload has changed nothing, with "" that it was put in
// force.
func (q *Queue) SetFailure(why string) { q.failure = why }

// Failure returns why the last reload has changed nothing, or "".
func (q *Queue) Failure() string { return q.failure }

// Problem says what keeps a reload from coming to an end, "" for nothing.
func (q *Queue) Problem() string {
	if q.file != nil {
		if since, stalled := q.file.Stalled(); stalled {
			return fmt.Sprintf("the configuration is still being read since %s: its file system does not answer", since.Format(time.TimeOnly))
		}
	}
	if err := q.progress.stalled(); err != nil {
		return err.Error()
	}
	return ""
}

package master

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/logging"
)

// reloadLimit is how long a reload may take before it counts as one that does
// not come to an end. It is less than a client of the control socket waits.
const reloadLimit = 30 * time.Second

// A progress tells whether the reload that is under way comes to an end. The
// file is read in bounds (config.File), but what it names may be on a file system
// that hangs, and no deadline bounds a system call there.
//
//	begin                     the reload is under way
//	timeout    overdue        whoever waits is told, and so are the log and the status
//	end                       a late result is taken as any other
//	reload     given up       if another one is asked for: its result will be ignored
//
// At most one reload is given up at a time, so that two threads at most hang.
type progress struct {
	limit   time.Duration    // reloadLimit
	attempt int              // the number of the reload under way, or of the last one
	since   time.Time        // its beginning
	timeout <-chan time.Time // when it has taken too long; nil while none is under way
	overdue bool             // it has

	givenUp      bool // an earlier reload was given up and has not ended
	givenUpTry   int
	givenUpSince time.Time
}

// begin notes that a reload begins.
func (p *progress) begin(now time.Time) {
	p.attempt++
	p.since, p.overdue, p.timeout = now, false, time.After(p.limit)
}

// wasGivenUp reports whether a reload is one that was given up.
func (p *progress) wasGivenUp(attempt int) bool { return p.givenUp && attempt == p.givenUpTry }

// ended notes that a reload has ended: the one under way, or the one that was
// given up.
func (p *progress) ended(attempt int) {
	if p.wasGivenUp(attempt) {
		p.givenUp = false
		return
	}
	p.overdue, p.timeout = false, nil
}

// giveUp gives the reload up that is under way. It reports false, and does
// nothing, while an earlier one has not ended that was given up.
func (p *progress) giveUp() bool {
	if p.givenUp {
		return false
	}
	p.givenUp, p.givenUpTry, p.givenUpSince = true, p.attempt, p.since
	p.overdue, p.timeout = false, nil
	return true
}

// stalledSince returns the beginning of the oldest reload that takes too long.
func (p *progress) stalledSince() (since time.Time, stalled bool) {
	switch {
	case p.givenUp:
		return p.givenUpSince, true
	case p.overdue:
		return p.since, true
	}
	return time.Time{}, false
}

// problem says what keeps a reload from coming to an end, "" for nothing.
func (r *reloads) problem() string {
	if r.file != nil {
		if since, stalled := r.file.Stalled(); stalled {
			return fmt.Sprintf("the configuration is still being read since %s: its file system does not answer", since.Format(time.TimeOnly))
		}
	}
	if since, stalled := r.stalledSince(); stalled {
		return stalledText(since)
	}
	return ""
}

func stalledText(since time.Time) string {
	return fmt.Sprintf("a reload has been under way since %s: name servers or file systems keep it waiting", since.Format(time.TimeOnly))
}

// reloadOverdue says that the reload under way takes too long. If another one was
// asked for meanwhile it takes its place: the file may be a better one by now.
func (m *Master) reloadOverdue() {
	r := &m.reloads
	r.timeout = nil
	if m.isEnding() {
		return // who waits for the reload knows already
	}
	r.overdue = true
	m.log.Warn("reload overdue", zap.Time("since", r.since), logging.Reason("name servers or file systems keep it waiting"))
	notifyAll(r.waiters, reloadOutcome{err: control.Errorf(control.Unavailable, "not reloaded yet: %s; the log will say what becomes of it", stalledText(r.since))})
	r.waiters = nil
	if !r.queued {
		m.notify.Ready()
		m.notifyStatus()
		return
	}
	next := r.nextWaiters
	r.queued, r.nextWaiters = false, nil
	var later []pendingDrain
	for _, d := range r.drains {
		if d.queued {
			later = append(later, pendingDrain{d.service, d.reason, false})
		}
	}
	m.supersedeReload(next, later)
}

// supersedeReload gives up the reload under way, which is overdue, and begins
// another one. later are the drains that were asked for after that one. While an
// earlier reload hangs that was given up, nothing happens, and those who wait are
// told.
func (m *Master) supersedeReload(waiters []chan<- reloadOutcome, later []pendingDrain) {
	r := &m.reloads
	if !r.giveUp() {
		for i := range r.drains {
			r.drains[i].queued = false // there is none any more that was asked for before
		}
		since, _ := r.stalledSince()
		err := control.Errorf(control.Unavailable, "not reloaded: %s", stalledText(since))
		m.log.Error("not reloaded", logging.Error(errors.New(stalledText(since))))
		notifyAll(waiters, reloadOutcome{err: err})
		m.notify.Reloading()
		m.notify.Ready()
		m.notifyStatus()
		return
	}
	r.underWay, r.drains = false, later
	m.startReload(waiters)
}

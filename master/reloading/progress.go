package reloading

import (
	"fmt"
	"time"
)

// limit is how long a reload may take before it counts as one that does not come
// to an end. It is less than a client of the control socket waits.
const limit = 30 * time.Second

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
	p.since, p.overdue, p.timeout = now, false, time.After(limit)
}

// markOverdue notes that the reload under way takes too long.
func (p *progress) markOverdue() { p.overdue, p.timeout = true, nil }

// end notes that the reload under way has ended.
func (p *progress) end() { p.overdue, p.timeout = false, nil }

// endGivenUp notes that a reload has ended, if it is the one that was given up,
// and reports whether it is.
func (p *progress) endGivenUp(attempt int) bool {
	if !p.givenUp || attempt != p.givenUpTry {
		return false
	}
	p.givenUp = false
	return true
}

// giveUp gives the reload up that is under way. It returns an error, and does
// nothing, while an earlier one has not ended that was given up.
func (p *progress) giveUp() error {
	if p.givenUp {
		return stalledError(p.givenUpSince)
	}
	p.givenUp, p.givenUpTry, p.givenUpSince = true, p.attempt, p.since
	p.end()
	return nil
}

// stalled returns an error that tells of the oldest reload that takes too long,
// or nil.
func (p *progress) stalled() error {
	switch {
	case p.givenUp:
		return stalledError(p.givenUpSince)
	case p.overdue:
		return stalledError(p.since)
	}
	return nil
}

// Reason is why a reload takes too long, as far as anybody can know.
const Reason = "name servers or file systems keep it waiting"

func stalledError(since time.Time) error {
	return fmt.Errorf("a reload has been under way since %s: %s", since.Format(time.TimeOnly), Reason)
}

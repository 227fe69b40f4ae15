package spawner

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

const (
	// minShare and maxShare bound how many starts of one program may be in
	// progress.
	minShare, maxShare = 4, 16
	// programsAtOnce is how many programs may use their whole share at the same
	// time: with one less that hang, all others are started as always.
	programsAtOnce = 4

	stallAfter = 5 * time.Second // a start that takes so long hangs
	watchEvery = time.Second
	giveUp     = time.Second // so long a start still waits when the master stops

	maxIdlePrograms = 256 // of which nothing is being started
)

// share is how many starts of one program may be in progress: as many as there
// are processors, in bounds.
func share() int { return min(max(minShare, runtime.GOMAXPROCS(0)), maxShare) }

// ErrStalled reports that a start has waited for others that hang.
var ErrStalled = errors.New("other starts hang")

// A Stall says that starts of a program hang: its file is on a disk or a file
// server that does not answer.
type Stall struct {
	Program string
	Starts  int       // in progress
	Since   time.Time // when the oldest of them has begun
}

// A limiter bounds how many starts are in progress, in all and for each program.
// It notices when they hang.
//
// A start takes the right of its program first, and then one of those that all
// programs share. So whatever waits for a program that hangs keeps nothing from
// the others.
type limiter struct {
	share    int           // of each program
	total    chan struct{} // has one element for each start in progress
	stopping <-chan struct{}
	// report is told when starts of a program begin to hang, and when that is
	// over. It is called without the lock.
	report     func(s Stall, over bool)
	stallAfter time.Duration

	mu       sync.Mutex // guards what follows, and the fields of every program
	programs map[string]*program
	timer    *time.Timer // calls watch
	watching bool        // the timer runs
	closed   bool
}

// A program is the starts of one file.
type program struct {
	path  string
	total chan struct{} // has one element for each start in progress
	users int           // starts in progress, and those that wait
	begun []time.Time   // of each start in progress; zero where there is none
	hangs bool          // has been reported
}

// A start is one start in progress.
type start struct {
	program *program
	slot    int // in begun
}

func newLimiter(share int, stopping <-chan struct{}, report func(Stall, bool)) *limiter {
	return &limiter{
		share: share, total: make(chan struct{}, share*programsAtOnce), stopping: stopping, report: report,
		stallAfter: stallAfter, programs: map[string]*program{},
	}
}

// begin waits until a start of a program may begin. The caller must call end.
func (l *limiter) begin(path string) (start, error) {
	p := l.enter(path)
	if !l.take(p.total) {
		l.leave(p, -1)
		return start{}, fmt.Errorf("start %s: %w", path, ErrStalled)
	}
	if !l.take(l.total) {
		<-p.total
		l.leave(p, -1)
		return start{}, fmt.Errorf("start %s: %w", path, ErrStalled)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slot := 0
	for !p.begun[slot].IsZero() {
		slot++
	}
	p.begun[slot] = time.Now()
	if !l.watching && !l.closed {
		l.watching = true
		if l.timer == nil {
			l.timer = time.AfterFunc(watchEvery, l.watch)
		} else {
			l.timer.Reset(watchEvery)
		}
	}
	return start{p, slot}, nil
}

// end ends a start that has begun.
func (l *limiter) end(s start) {
	l.leave(s.program, s.slot) // first, so that the place is free for the next one
	<-l.total
	<-s.program.total
}

// take waits for a place in c. It reports false when the master stops and there
// is still none after a moment.
func (l *limiter) take(c chan struct{}) bool {
	select {
	case c <- struct{}{}:
		return true
	default:
	}
	select {
	case c <- struct{}{}:
		return true
	case <-l.stopping:
	}
	timer := time.NewTimer(giveUp)
	defer timer.Stop()
	select {
	case c <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// enter returns the program of a path, which the caller must leave.
func (l *limiter) enter(path string) *program {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.programs[path]
	if p == nil {
		if len(l.programs) >= maxIdlePrograms {
			for path, p := range l.programs {
				if p.users == 0 && !p.hangs {
					delete(l.programs, path)
				}
			}
		}
		p = &program{path: path, total: make(chan struct{}, l.share), begun: make([]time.Time, l.share)}
		l.programs[path] = p
	}
	p.users++
	return p
}

// leave ends the use of a program. slot is that of the start in progress, or -1.
func (l *limiter) leave(p *program, slot int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.users--
	if slot >= 0 {
		p.begun[slot] = time.Time{}
	}
}

// watch looks for starts that hang, once in watchEvery for as long as there are
// starts. A master without starts is not woken for it.
func (l *limiter) watch() {
	var began, over []Stall
	l.mu.Lock()
	again := false
	now := time.Now()
	for _, p := range l.programs {
		s := p.stall()
		hangs := s.Starts > 0 && now.Sub(s.Since) >= l.stallAfter
		switch {
		case hangs && !p.hangs:
			began = append(began, s)
		case !hangs && p.hangs:
			over = append(over, s)
		}
		p.hangs = hangs
		again = again || s.Starts > 0
	}
	if l.watching = again && !l.closed; l.watching {
		l.timer.Reset(watchEvery)
	}
	l.mu.Unlock()
	for _, s := range began {
		l.report(s, false)
	}
	for _, s := range over {
		l.report(s, true)
	}
}

// stall returns the starts of a program that are in progress.
func (p *program) stall() Stall {
	s := Stall{Program: p.path}
	for _, begun := range p.begun {
		if !begun.IsZero() {
			s.Starts++
			if s.Since.IsZero() || begun.Before(s.Since) {
				s.Since = begun
			}
		}
	}
	return s
}

// stalled returns the programs that have been reported to hang.
func (l *limiter) stalled() (found []Stall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.programs {
		if p.hangs {
			found = append(found, p.stall())
		}
	}
	return found
}

// close ends watching.
func (l *limiter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

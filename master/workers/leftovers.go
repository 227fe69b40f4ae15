package workers

import (
	"errors"
	"io/fs"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
)

// A leftovers is what workers have started and left behind when they ended, and
// what is to end with the connection (the key leftovers).
//
// That is, first, what is in the worker's process group. Second, it is what has
// left the group and still has the connection's id in its environment. Both come
// to the master as orphans, because it is their subreaper. An orphan with an
// environment of its own, such as a user's session under sshd, lives on.
//
// All signals go to children of this process that it has not reaped, and to
// groups that such a child is in. So no pid and no group can be another's by then.
type leftovers struct {
	children *process.ChildList // nil: the kernel does not list them
	leaving  []*leaving
	// known is what is known of each orphan, so that it is looked at once. It may
	// be hundreds of sessions of users, and hundreds of workers may end at once.
	known map[int]orphan
	// unclear is since when orphans do not show what they are.
	unclear map[int]time.Time
	due     bool  // settle has something to look for
	pids    []int // memory for the list
}

// An orphan is what a process is at the time when it is first seen.
type orphan struct {
	// session is its session. It can leave that, and cannot come into another one
	// that there is already (setsid(2)). A worker's group is in the worker's session.
	session int
	id      string    // of the connection in its environment, "" for none
	hidden  bool      // the kernel does not show its environment
	since   time.Time // when it was first seen
}

// A leaving is a worker that has ended and of which something may be left.
type leaving struct {
	worker *Worker
	exit   process.Exit
	id     string       // of the connection that it served, "" for none
	termAt time.Time    // when the first of it had SIGTERM
	killed bool         // it gets SIGKILL
	seen   map[int]bool // orphans that had the present signal
	told   bool         // the Sink knows of its end
	// groupHad says that the group had the present signal, and groupGone that there
	// is no such group any more, so that its number may be another's.
	groupHad, groupGone bool

	left, inGroup, groupNow bool // what settle has found and done this time
}

func newLeftovers() leftovers {
	children, err := process.OpenChildList()
	if err != nil {
		children = nil
	}
	return leftovers{children: children, known: map[int]orphan{}, unclear: map[int]time.Time{}}
}

func (l *leftovers) close() {
	if l.children != nil {
		l.children.Close()
	}
}

// keepsLeftovers reports whether what the worker leaves behind is none of the
// master's business. A built-in handler cannot start anything.
func (w *Worker) keepsLeftovers() bool {
	return w.Spec().Leftovers == config.LeftoversKeep || w.Spec().Handler != ""
}

// beginLeaving takes in that a worker was reaped that may have left something
// behind. It reports false if there is nothing for certain; otherwise settle finds
// out, once for all workers that are reaped together.
func (s *Set) beginLeaving(w *Worker, exit process.Exit, now time.Time) bool {
	l := &s.leftovers
	if w.keepsLeftovers() {
		return false
	}
	if l.children == nil {
		// Without a list of orphans there is only the group, and no telling when
		// it is gone.
		_ = unix.Kill(-exit.Pid, unix.SIGKILL)
		return false
	}
	if !l.due {
		if l.pids = l.children.Append(l.pids[:0]); len(l.pids) == 0 {
			return false
		}
		l.due = true
	}
	v := &leaving{worker: w, exit: exit, termAt: now, seen: map[int]bool{}}
	// A connection that was on its way to the worker goes to another one.
	if state, c := w.Standing(); c != nil && state != Assigned {
		v.id = c.ID
	}
	l.leaving = append(l.leaving, v)
	return true
}

// orphanReaped takes in that a child was reaped that was no worker. Its number may
// be the next one's, and its own children may be orphans now.
func (s *Set) orphanReaped(pid int) {
	l := &s.leftovers
	delete(l.known, pid)
	delete(l.unclear, pid)
	for _, v := range l.leaving {
		delete(v.seen, pid)
		l.due = true
	}
}

// CheckLeftovers has what is left of workers that have ended end, with SIGKILL
// when it has had SIGTERM for killDelay.
func (s *Set) CheckLeftovers(now time.Time, killDelay time.Duration) {
	for _, v := range s.leftovers.leaving {
		if !v.killed && now.Sub(v.termAt) >= killDelay {
			v.killed, v.groupHad = true, false
			clear(v.seen)
		}
	}
	s.leftovers.due = len(s.leftovers.leaving) > 0
	s.settle(now)
}

// execTime is how long settle gives a process that is in the middle of an exec,
// and shows nothing of its environment.
const execTime = time.Second

// settle looks for what is left of workers that have ended, and signals what has
// not had the signal yet: the children of an orphan are orphans when it has ended.
// It tells the Sink of workers of which nothing is left. Of a worker that had no
// connection the Sink is told at once: nobody waits for what that has left behind,
// and nobody is to give such a worker a connection.
//
// It takes a time in proportion to the orphans and to these workers.
func (s *Set) settle(now time.Time) {
	l := &s.leftovers
	if !l.due {
		return
	}
	l.due = false
	groups, ids := map[int]*leaving{}, map[string]*leaving{}
	for _, v := range l.leaving {
		v.left, v.inGroup, v.groupNow = false, false, false
		if !v.groupGone {
			groups[v.exit.Pid] = v
		}
		if v.id != "" {
			ids[v.id] = v
		}
	}
	unclear := false
	l.pids = l.children.Append(l.pids[:0])
	for _, pid := range l.pids {
		if s.Has(pid) {
			continue
		}
		v, inGroup, certain := l.worker(pid, groups, ids, now)
		unclear = unclear || !certain
		if v != nil {
			v.left, v.inGroup = true, v.inGroup || inGroup
			v.signal(pid, inGroup)
		}
	}
	var tell []*leaving
	kept := l.leaving[:0]
	for _, v := range l.leaving {
		v.groupGone = v.groupGone || !v.inGroup && unix.Kill(-v.exit.Pid, 0) == unix.ESRCH
		stays := v.left || unclear && now.Sub(v.termAt) < execTime
		if stays {
			kept = append(kept, v)
		} else {
			v.worker.leaveShared()
		}
		if !v.told && (!stays || v.id == "") {
			v.told = true
			tell = append(tell, v)
		}
	}
	clear(l.leaving[len(kept):])
	l.leaving = kept
	for _, v := range tell {
		s.sink.Exited(v.worker, v.exit)
	}
}

// worker returns of which worker an orphan is left, nil for none, and whether it is
// in that worker's group. certain is false if that cannot be told now.
func (l *leftovers) worker(pid int, groups map[int]*leaving, ids map[string]*leaving, now time.Time) (v *leaving, inGroup, certain bool) {
	o, known := l.known[pid]
	if !known {
		if o, certain = l.inspect(pid, now); certain {
			l.known[pid] = o
		}
	}
	if v := groups[o.session]; v != nil {
		if group, err := unix.Getpgid(pid); err == nil && group == v.exit.Pid {
			return v, true, true
		}
		if o.hidden {
			// Its session tells as much as there is to know.
			session, err := unix.Getsid(pid)
			if err == nil && session == v.exit.Pid {
				return v, false, true
			}
		}
	}
	if v := ids[o.id]; v != nil && !v.seen[pid] && known {
		// It may have executed something else since then, with an environment of
		// its own.
		later, ok := l.inspect(pid, now)
		if ok {
			later.since = o.since
			l.known[pid] = later
		}
		if later.id != o.id {
			return nil, false, ok
		}
	}
	return ids[o.id], false, known || certain
}

// inspect looks at an orphan. It reports false if the orphan has ended, or does not
// show what it is at the moment. One that has not shown it for execTime does not
// show it at all: its first thread has ended, say.
func (l *leftovers) inspect(pid int, now time.Time) (o orphan, certain bool) {
	session, err := unix.Getsid(pid)
	if err != nil {
		return orphan{}, false
	}
	o.session, o.since = session, now
	if o.id, _, err = process.Environment(pid, ipc.EnvConnection); err == nil {
		delete(l.unclear, pid)
		return o, true
	}
	if o.hidden = errors.Is(err, fs.ErrPermission); o.hidden {
		return o, true
	}
	since, seen := l.unclear[pid]
	if !seen {
		l.unclear[pid] = now
	}
	o.hidden = seen && now.Sub(since) >= execTime
	return o, o.hidden
}

// signal signals an orphan that is left of the worker, and the group that it is in,
// unless it has had the signal.
func (v *leaving) signal(pid int, inGroup bool) {
	if v.seen[pid] {
		return
	}
	v.seen[pid] = true
	if v.worker.leftovers == nil {
		v.worker.leftovers = map[int]bool{}
	}
	v.worker.leftovers[pid] = true
	sig := unix.SIGTERM
	if v.killed {
		sig = unix.SIGKILL
	}
	to := pid
	switch {
	case inGroup && v.groupNow:
		return // it was in the group just now
	case inGroup && !v.groupHad:
		to, v.groupHad, v.groupNow = -v.exit.Pid, true, true
	}
	_ = unix.Kill(to, sig)
	_ = unix.Kill(to, unix.SIGCONT) // a stopped process acts on SIGTERM when it goes on
}

// Leaving returns the workers that have ended and of which something is left.
func (s *Set) Leaving() iter.Seq[*Worker] {
	return func(yield func(*Worker) bool) {
		for w := range s.cells.leaving {
			if !yield(w) {
				return
			}
		}
		for _, v := range s.leftovers.leaving {
			if !yield(v.worker) {
				return
			}
		}
	}
}

// Leftovers returns how many processes the worker has left behind that were seen
// and ended.
func (w *Worker) Leftovers() int { return len(w.leftovers) + w.remains.Leftovers }

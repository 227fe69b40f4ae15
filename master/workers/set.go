package workers

import (
	"fmt"
	"iter"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/process"
)

// A Set is all workers that are not reaped yet. The loop owns it.
type Set struct {
	log         *zap.Logger
	sink        Sink
	table       *table
	reaper      reaper
	poller      *poller
	parking     parking
	linger      *linger.Closer
	early       earlyCloses
	hangUps     hangUps
	leftovers   leftovers
	cells       cells
	holders     Holders     // nil: there are none
	cellCarrier CellCarrier // nil: there are no cells
	restored    restored
	paused      []*StderrReader // by Pause
	stops       stops
	unwatched   unwatched
	started     uint64
	led         sessions
	message     [ipc.MaxMessage]byte // where messages are read into
}

// A Sink is told what becomes of workers, and decides what that means for their
// connections. It is called by the methods of a Set, on the loop.
type Sink interface {
	// Message takes in a message of a worker. An error says that the contract
	// does not allow it where the worker stands, and ends the worker. body is
	// valid during the call.
	Message(w *Worker, t ipc.Type, body []byte) error
	// ChannelClosed takes in that a worker has closed its control channel.
	ChannelClosed(w *Worker)
	// Violation ends a worker that broke the contract.
	Violation(w *Worker, err error)
	// Exited takes in that a worker was reaped. What it said before was passed
	// to Message.
	Exited(w *Worker, exit process.Exit)
	// Stopped takes in that a worker was stopped by a signal, and Continued that
	// it goes on.
	Stopped(w *Worker)
	Continued(w *Worker)
	// Reaped takes in that a child was reaped, whoever it was. It comes before
	// Exited.
	Reaped(pid int)
}

// A Wait reaps one child that has ended, as process.Wait does. Tests have others.
type Wait func(pid int) (process.Exit, bool)

// NewSet returns an empty set, which reaps by wait; nil stands for process.Wait.
// The caller ends the set with Close.
func NewSet(sink Sink, log *zap.Logger, wait Wait) (*Set, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	if wait == nil {
		wait = process.Wait
	}
	closer, err := linger.New()
	if err != nil {
		poller.close()
		return nil, err
	}
	s := &Set{log: log, sink: sink, table: newTable(), poller: poller, linger: closer, stops: newStops(), leftovers: newLeftovers(), cells: cells{leaving: map[*Worker]process.Exit{}, wake: make(chan struct{}, 1)},
		early: earlyCloses{found: make(chan EarlyCloses, 1)}, hangUps: hangUps{answers: make(chan HangUps, 1)}}
	s.reaper = reaper{wait: wait, has: s.table.has, exited: s.exited}
	return s, nil
}

// Close ends what the set runs. Workers are not touched.
func (s *Set) Close() {
	s.leftovers.close()
	s.parking.close()
	s.poller.close()
	s.linger.End()
}

// Poll tells over Ready which watched workers have said something, until Close.
// stop ends a report that nobody takes.
func (s *Set) Poll(stop <-chan struct{}) { s.poller.run(stop) }

// Linger returns what closes connections for the set. It serves those that linger
// in Run, on a goroutine of the caller's, until Close.
func (s *Set) Linger() *linger.Closer { return s.linger }

// Ready returns the pids of watched workers that have said something.
func (s *Set) Ready() <-chan []int { return s.poller.ready }

// ReadReady reads what workers have said of which Ready told.
func (s *Set) ReadReady(pids []int) {
	for _, pid := range pids {
		if w := s.table.workers[pid]; w != nil && w.watched {
			s.Read(w)
		}
	}
}

// Register puts a worker into the set that was started. If it has ended already
// and was reaped, Register passes that to the Sink and reports false.
func (s *Set) Register(w *Worker) (live bool) {
	s.started++
	s.NoteLed(w.child.Pid)
	exit, over := s.table.started(w, w.child.Pid, w.child.Reaped)
	w.child.ReleaseHandle()
	if over {
		s.ended(w, exit)
		s.settle(time.Now())
		return false
	}
	s.reaper.registered(w.child.Pid)
	if w.watched {
		s.watch(w)
	}
	s.stoppedEarly(w)
	return true
}

// Read passes what a worker has said so far to the Sink. A worker is not
// trusted, and what it started may hold its channel, too. Each state allows one
// or two messages, and the first one that is not allowed ends the worker, so
// nobody keeps the loop busy.
func (s *Set) Read(w *Worker) {
	for w.violation == nil {
		t, body, err := w.channel.receive(s.message[:])
		switch err {
		case unix.EAGAIN:
			return
		case errChannelClosed:
			s.sink.ChannelClosed(w)
			return
		case nil:
			err = s.sink.Message(w, t, body)
		}
		if err != nil {
			s.violated(w, fmt.Errorf("control channel: %w", err))
		}
	}
}

func (s *Set) violated(w *Worker, err error) {
	w.violation = err
	w.pool.MarkBroken(w, time.Now())
	s.sink.Violation(w, err)
}

// exited takes in that a child was reaped.
func (s *Set) exited(exit process.Exit) {
	s.sink.Reaped(exit.Pid)
	s.stopsEnd(exit.Pid)
	if s.holderReaped(exit.Pid) {
		return
	}
	w := s.table.exited(exit)
	if w == nil {
		s.led.remove(exit.Pid) // should it be a worker's, Register adds it again
		s.orphanReaped(exit.Pid)
		return
	}
	s.ended(w, exit)
}

func (s *Set) ended(w *Worker, exit process.Exit) {
	w.reaped = true
	s.Read(w) // the exit can overtake the report
	if box := w.command.Box; box != nil {
		w.boxError = box.Failure(w.command, &exit)
	}
	if cell := w.child.Cell; cell != nil && cell.Holds() {
		s.leaveCell(w, cell, exit)
		return
	}
	if !s.beginLeaving(w, exit, time.Now()) {
		w.leaveShared()
		s.sink.Exited(w, exit)
	}
}

// ReapAll reaps every child that has ended.
func (s *Set) ReapAll() {
	s.reaper.all()
	s.settle(time.Now())
}

// Reap reaps the children that have ended after a SIGCHLD: all of them, or,
// when there are many workers, the recent ones now and the others when ScanDue
// says so. all makes it all of them in any case. It reports whether all children
// were asked for. The SIGCHLD may also be of one that was stopped, so StopsDue
// tells some time later.
func (s *Set) Reap(all bool) (complete bool) {
	s.stops.schedule()
	defer func() { s.settle(time.Now()) }()
	switch {
	case all || len(s.table.workers) < largeSet:
		s.reaper.all()
	case s.reaper.some():
		return false
	default:
		s.reaper.large()
	}
	return true
}

// ScanDue returns a channel that has something when Scan is to be called; it is
// nil while no scan is scheduled.
func (s *Set) ScanDue() <-chan time.Time { return s.reaper.due }

// Scan makes the scan that Reap has scheduled.
func (s *Set) Scan(all bool) {
	if all || len(s.table.workers) < largeSet {
		s.reaper.all()
	} else {
		s.reaper.large()
	}
	s.settle(time.Now())
}

// HasEarlyExits reports whether there are exits that may belong to workers which
// are not registered yet.
func (s *Set) HasEarlyExits() bool { return len(s.table.earlyExits) > 0 }

// DropEarlyExits forgets the exits that belong to no worker, and returns them.
// starting says that workers are being started which are not registered yet.
func (s *Set) DropEarlyExits(starting bool) []process.Exit { return s.table.dropEarlyExits(starting) }

// All returns the workers, in no order.
func (s *Set) All() iter.Seq[*Worker] {
	return func(yield func(*Worker) bool) {
		for _, w := range s.table.workers {
			if !yield(w) {
				return
			}
		}
	}
}

// Has reports whether a pid is a worker's, or that of a process of a box which is no
// orphan either.
func (s *Set) Has(pid int) bool {
	return s.table.has(pid) || s.holders != nil && s.holders.IsHolder(pid)
}

// NoteLed notes that a child that is not registered leads a session as a worker
// does. The startup probe starts such children.
func (s *Set) NoteLed(pid int) { s.led.add(pid) }

// HasLed reports whether the last child with this number, as far as is known,
// was a worker. Its session is then the worker's.
func (s *Set) HasLed(session int) bool { return s.led.has(session) }

// Len returns how many workers there are, those included that have ended and of
// which something is left.
func (s *Set) Len() int {
	return len(s.table.workers) + len(s.leftovers.leaving) + len(s.cells.leaving)
}

// Started returns how many workers were ever registered.
func (s *Set) Started() uint64 { return s.started }

// Serving returns the worker that has a connection, or nil.
func (s *Set) Serving(connection string) *Worker {
	for _, w := range s.table.workers {
		if c := w.Connection(); c != nil && c.ID == connection {
			return w
		}
	}
	return nil
}

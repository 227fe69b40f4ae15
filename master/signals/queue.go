package signals

import (
	"os"
	"os/signal"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/signals/early"
)

// A Queue keeps the signals that have come, the oldest first. A signal that comes
// again while it is kept says nothing new. Only a second SIGINT does: it skips a
// wait.
type Queue struct {
	caught chan os.Signal
	// next gives all signals, ending only those that end the master.
	next, ending chan unix.Signal
	all          chan chan []unix.Signal // takes a channel that is given all that is kept
}

// caught are the signals that a master catches.
var caught = early.Signals

// Catch begins to catch the signals of a master. They stay caught: all that
// is left after the master's end is to write the last lines of the log, and one more
// signal is not to turn a stop in order into a killed process.
//
// In a program that another one has executed, they have been caught since its first
// moment, and those that had come before are the first (Held.Environment).
func Catch() *Queue {
	if executed != nil {
		return executed
	}
	return catch(make(chan os.Signal, 16), nil)
}

// executed is what Catch returns if another master has executed this program.
var executed *Queue

func init() {
	if early.Caught != nil {
		executed = catch(early.Caught, inherited())
	}
}

func catch(signals chan os.Signal, kept []unix.Signal) *Queue {
	q := &Queue{
		caught: signals, next: make(chan unix.Signal), ending: make(chan unix.Signal), all: make(chan chan []unix.Signal),
	}
	go q.keep(kept)
	for _, sig := range caught {
		signal.Notify(q.caught, sig)
	}
	return q
}

// keep takes every signal at once, because os/signal drops what finds no room. It has kept
// some already.
func (q *Queue) keep(kept []unix.Signal) {
	for {
		var next, ending chan unix.Signal
		var first, firstEnding unix.Signal
		if len(kept) > 0 {
			next, first = q.next, kept[0]
		}
		at := slices.IndexFunc(kept, endsMaster)
		if at >= 0 {
			ending, firstEnding = q.ending, kept[at]
		}
		select {
		case sig, ok := <-q.caught:
			if !ok {
				return
			}
			kept = add(kept, sig.(unix.Signal))
		case next <- first:
			kept = kept[1:]
		case ending <- firstEnding:
			kept = slices.Delete(kept, at, at+1)
		case taker := <-q.all:
			for len(q.caught) > 0 {
				kept = add(kept, (<-q.caught).(unix.Signal))
			}
			taker <- kept
			kept = nil
		}
	}
}

// add adds a signal to those that are kept, if it says anything new.
func add(kept []unix.Signal, sig unix.Signal) []unix.Signal {
	most := 1
	if sig == unix.SIGINT {
		most = 2
	}
	for _, k := range kept {
		if k == sig {
			most--
		}
	}
	if most <= 0 {
		return kept
	}
	return append(kept, sig)
}

func endsMaster(sig unix.Signal) bool {
	return sig != unix.SIGHUP && sig != unix.SIGUSR1 && sig != unix.SIGUSR2
}

// Next returns the channel that gives the oldest signal.
func (q *Queue) Next() <-chan unix.Signal { return q.next }

// During runs f, which may take its time. It returns the error of f, or the signal
// that ends the master before f returns. Then f goes on in the background. Other
// signals are kept.
func (q *Queue) During(f func() error) (unix.Signal, error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return q.Await(done)
}

// Await is During for something that has begun already.
func (q *Queue) Await(done <-chan error) (unix.Signal, error) {
	select {
	case err := <-done:
		return 0, err
	case sig := <-q.ending:
		return sig, nil
	}
}

// close ends catching, in tests.
func (q *Queue) close() {
	signal.Stop(q.caught)
	close(q.caught)
}

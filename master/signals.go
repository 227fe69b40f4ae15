package master

import (
	"errors"
	"os"
	"os/signal"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrStopped reports that a signal has ended a master before it served.
var ErrStopped = errors.New("stopped by a signal")

// Signals are what the master is told by signals. They are caught from the first
// moment on and kept until somebody can act on them: a start may take as long as
// file systems and name servers do.
//
// A signal that comes again while it is kept says nothing new. Only a second
// SIGINT does: it skips a wait.
type Signals struct {
	caught chan os.Signal
	// next gives all signals, the oldest first. ending gives only those that
	// end the master.
	next, ending chan os.Signal
}

// CatchSignals begins to catch the signals of a master. They stay caught: all
// that is left after the master's end is to write the last lines of the log, and
// one more signal is not to turn a stop in order into a killed process.
func CatchSignals() *Signals {
	s := &Signals{caught: make(chan os.Signal, 16), next: make(chan os.Signal), ending: make(chan os.Signal)}
	signal.Notify(s.caught, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1)
	go s.keep()
	return s
}

// keep takes every signal at once, because os/signal drops what finds no room.
func (s *Signals) keep() {
	var kept []os.Signal
	for {
		var next, ending chan os.Signal
		var first, firstEnding os.Signal
		if len(kept) > 0 {
			next, first = s.next, kept[0]
		}
		at := slices.IndexFunc(kept, endsMaster)
		if at >= 0 {
			ending, firstEnding = s.ending, kept[at]
		}
		select {
		case sig, ok := <-s.caught:
			if !ok {
				return
			}
			kept = addSignal(kept, sig)
		case next <- first:
			kept = kept[1:]
		case ending <- firstEnding:
			kept = slices.Delete(kept, at, at+1)
		}
	}
}

// addSignal adds a signal to those that are kept, if it says anything new.
func addSignal(kept []os.Signal, sig os.Signal) []os.Signal {
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

func endsMaster(sig os.Signal) bool { return sig != unix.SIGHUP && sig != unix.SIGUSR1 }

// During runs f, which may take its time. It returns the error of f, or the signal
// that ends the master before f returns. Then f goes on in the background. Other
// signals are kept.
func (s *Signals) During(f func() error) (unix.Signal, error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return s.await(done)
}

// await is During for something that has begun already.
func (s *Signals) await(done <-chan error) (unix.Signal, error) {
	select {
	case err := <-done:
		return 0, err
	case sig := <-s.ending:
		return sig.(unix.Signal), nil
	}
}

// close ends catching, in tests.
func (s *Signals) close() {
	signal.Stop(s.caught)
	close(s.caught)
}

package workers

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/hangup"
	"github.com/preforkd/preforkd/master/service"
)

// How often it is asked whose clients have gone. The answer matters soon where
// workers are ended for it, and elsewhere only to those who look at the status.
const (
	hangUpInterval = time.Second
	hangUpLeisure  = 10 * time.Second
	// hangUpShare bounds the time that the question takes, as a part of all
	// time, when there are many connections.
	hangUpShare = 50
	// hangUpAge is how old a connection is when it is first asked about.
	hangUpAge = time.Second
)

// A hangUps finds out whose clients have gone. The loop owns it; the question
// itself is asked on a goroutine, one at a time.
type hangUps struct {
	asking  bool
	failing bool      // the last answer was not complete
	gone    []*Worker // whose clients had gone at the last answer
	next    time.Time // when to ask again
	answers chan HangUps
}

// HangUps is the answer to the question whose clients have gone.
type HangUps struct {
	workers     []*Worker
	connections []*service.Connection // of the workers, at the time of the question
	gone        []bool
	took        time.Duration
	err         error
}

// AskHangUps asks whose clients have gone, if it is time to, and there is
// anybody to ask about. HangUps has the answer later.
func (s *Set) AskHangUps(now time.Time) {
	if s.hangUps.asking || now.Before(s.hangUps.next) {
		return
	}
	var (
		answer   HangUps
		question []hangup.Connection
		interval = hangUpLeisure
	)
	for _, w := range s.table.workers {
		w.mu.Lock()
		state, since, c := w.state, w.since, w.conn
		w.mu.Unlock()
		if state != Serving || c == nil || now.Sub(since) < hangUpAge {
			continue
		}
		if c.Spec.HangUp == config.HangUpTerm {
			interval = hangUpInterval
		}
		answer.workers, answer.connections = append(answer.workers, w), append(answer.connections, c)
		question = append(question, hangup.Connection{PID: w.PID(), Socket: c.Socket(), Local: c.Local})
	}
	if len(question) == 0 {
		return
	}
	s.hangUps.asking, s.hangUps.next = true, now.Add(interval)
	go func() {
		start := time.Now()
		answer.gone, answer.err = hangup.Gone(question)
		answer.took = time.Since(start)
		s.hangUps.answers <- answer // there is room: no other question is asked meanwhile
	}()
}

// HangUps has the answers to AskHangUps. Each is to be passed to NoteHangUps.
func (s *Set) HangUps() <-chan HangUps { return s.hangUps.answers }

// NoteHangUps takes in whose clients have gone, and returns the workers of which
// that is new. The error says why the kernel did not tell it of some, after an
// answer that was complete.
func (s *Set) NoteHangUps(a HangUps, now time.Time) ([]*Worker, error) {
	s.hangUps.asking = false
	if next := now.Add(hangUpShare * a.took); next.After(s.hangUps.next) {
		s.hangUps.next = next
	}
	var found []*Worker
	clear(s.hangUps.gone) // for the garbage collector
	s.hangUps.gone = s.hangUps.gone[:0]
	for i, w := range a.workers {
		if a.gone[i] {
			s.hangUps.gone = append(s.hangUps.gone, w)
		}
		switch {
		case w.reaped || w.Connection() != a.connections[i]:
			// The answer is about something that is over.
		case !a.gone[i]:
			w.clientGoneAt = time.Time{}
		case w.clientGoneAt.IsZero():
			w.clientGoneAt = now
			found = append(found, w)
		}
	}
	failed := a.err != nil
	if failed && s.hangUps.failing {
		a.err = nil
	}
	s.hangUps.failing = failed
	return found, a.err
}

// ClientsGone counts the connections of a service whose clients have gone before
// a time, and which their workers keep nevertheless.
func (s *Set) ClientsGone(owner *service.Service, before time.Time) (n int) {
	for _, w := range s.hangUps.gone {
		if w.Owner() == owner && !w.reaped && !w.clientGoneAt.IsZero() && w.clientGoneAt.Before(before) {
			n++
		}
	}
	return n
}

// ClientGone returns since when the client of the worker's connection is known
// to have gone, zero if it is not.
func (w *Worker) ClientGone() time.Time { return w.clientGoneAt }

// HangUpSignal returns the signal for a worker that still has a connection whose
// client has gone longer ago than the service allows, or 0.
func (w *Worker) HangUpSignal(now time.Time, killDelay time.Duration) unix.Signal {
	state, c := w.Standing()
	if state != Serving || c == nil || w.clientGoneAt.IsZero() || c.Spec.HangUp != config.HangUpTerm ||
		now.Sub(w.clientGoneAt) < c.Spec.HangUpGrace {
		return 0
	}
	sig := w.nextStopSignal(now, killDelay)
	w.endedForHangUp = w.endedForHangUp || sig != 0
	return sig
}

// EndedForHangUp reports whether the worker was signalled because the client of
// its connection had gone.
func (w *Worker) EndedForHangUp() bool { return w.endedForHangUp }

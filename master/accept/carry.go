package accept

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/backoff"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/proxy"
	"github.com/preforkd/preforkd/master/service"
)

// What of an Acceptor does not go over to the program that takes over:
//
//   - its listeners, which are those of package endpoints: Continue
//   - the crew and the standby, which have nothing to do in a pause
//   - where clients wait for a slot: the first attempt to accept there finds that out
//   - how long connections have waited in the kernel's queues: those that come in the first
//     moment are not asked whether they are still there
//   - the budget of headers, which is what the readers take

// A State is an Acceptor in the state that a master hands to the next one.
type State struct {
	// Waiting are those that wait, by service in the order of their coming.
	Waiting []WaitingState `json:"waiting"`
	// Closed are the services where nobody may wait for a PROXY header.
	Closed     []string        `json:"closed"`
	Watches    []WatchState    `json:"watches"`
	Shortages  []ShortageState `json:"shortages"`
	Suppressed bool            `json:"suppressed"` // the loop has not heard of it
}

// A WaitingState is a connection that was accepted and is nobody's yet. It has no slot.
type WaitingState struct {
	Conn listen.ConnState `json:"conn"`
	Spec int              `json:"spec"`
	// Header is how far its PROXY header has come, nil if it waits for a slot.
	Header *HeaderState `json:"header"`
}

// A HeaderState is a wait for a PROXY header.
type HeaderState struct {
	Reader   proxy.ReaderState `json:"reader"`
	Deadline carry.Moment      `json:"deadline"`
	Evicted  bool              `json:"evicted"` // it has to make room
}

// A WatchState is a service that is full or was a moment ago.
type WatchState struct {
	Service    string       `json:"service"`
	TurnedAway bool         `json:"turned_away"`
	Found      bool         `json:"found"`
	LastFull   carry.Moment `json:"last_full"`
}

// A ShortageState is a listener from which the system cannot accept at the moment.
type ShortageState struct {
	Socket uint64        `json:"socket"` // its inode
	Pause  time.Duration `json:"pause"`
	Until  carry.Moment  `json:"until"`
}

// restored is what an Acceptor has from another master and has not begun with.
type restored struct {
	waiting   []restoredWaiter
	watches   []*watch
	shortages map[uint64]ShortageState
}

type restoredWaiter struct {
	candidate
	header *HeaderState
}

// Export returns the state of an acceptor in a pause.
func (a *Acceptor) Export(d *carry.Descriptors, specs *service.SpecRecorder) State {
	s := State{
		Waiting: []WaitingState{}, Closed: a.queues.closedNames(), Watches: []WatchState{}, Shortages: a.intakes.exportShortages(),
		Suppressed: len(a.suppressed) > 0,
	}
	for _, w := range a.waiters.ordered() {
		ws := WaitingState{Conn: w.conn.Export(d), Spec: specs.Number(w.spec)}
		if w.reader != nil {
			ws.Header = &HeaderState{Reader: w.reader.Export(), Deadline: carry.At(w.deadline), Evicted: w.queue.isEvicted(w.reader)}
		}
		s.Waiting = append(s.Waiting, ws)
	}
	a.watches.mu.Lock()
	defer a.watches.mu.Unlock()
	for svc, w := range a.watches.running {
		s.Watches = append(s.Watches, WatchState{svc.Name, w.turnedAway, w.found, carry.At(w.lastFull)})
	}
	slices.SortFunc(s.Watches, func(a, b WatchState) int { return cmp.Compare(a.Service, b.Service) })
	return s
}

// ordered returns all waiters, the oldest readers of each service first.
func (ws *waiters) ordered() []*waiter {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	type placed struct {
		*waiter
		place int
	}
	var all []placed
	for w := range ws.all {
		at := placed{w, -1}
		if w.reader != nil {
			at.place = w.queue.place(w.reader)
		}
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.spec.Name, b.spec.Name), cmp.Compare(a.place, b.place), cmp.Compare(a.conn.FD, b.conn.FD))
	})
	ordered := make([]*waiter, len(all))
	for i, w := range all {
		ordered[i] = w.waiter
	}
	return ordered
}

func (p *proxyQueues) closedNames() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := []string{}
	for s, q := range p.queues {
		if q.isClosed() {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *intakes) exportShortages() []ShortageState {
	s.mu.Lock()
	defer s.mu.Unlock()
	shortages := []ShortageState{}
	for _, in := range s.all {
		if pause, until := in.shortage.state(); pause > 0 {
			if inode, err := in.Inode(); err == nil {
				shortages = append(shortages, ShortageState{inode, pause, carry.At(until)})
			}
		}
	}
	slices.SortFunc(shortages, func(a, b ShortageState) int { return cmp.Compare(a.Socket, b.Socket) })
	return shortages
}

func (e *exhaustion) state() (pause time.Duration, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failures.Pause(), e.until
}

// Restore gives a new acceptor, which has no listeners yet, what another one had. It is in
// a pause then: listeners are given to Continue, and Proceed begins. services returns the
// service of a name, nil if there is none.
func (a *Acceptor) Restore(s *State, d *carry.Descriptors, specs *service.RestoredSpecs, services func(name string) *service.Service) error {
	a.crew.pause()
	_ = a.set.SetDeadline(time.Unix(1, 0)) // it is not closed
	a.waiters.pause()
	a.watches.looking.Lock()
	for i := range s.Waiting {
		w, err := restoreWaiter(&s.Waiting[i], d, specs)
		if err != nil {
			return fmt.Errorf("connection that waits: %w", err)
		}
		a.restored.waiting = append(a.restored.waiting, w)
	}
	for _, name := range s.Closed {
		svc := services(name)
		if svc == nil {
			return fmt.Errorf("connections that wait: there is no service %q", name)
		}
		a.queues.of(svc).close()
	}
	for _, st := range s.Watches {
		svc := services(st.Service)
		if svc == nil || a.watches.running[svc] != nil {
			return fmt.Errorf("a watch of service %q: there is none, or another one", st.Service)
		}
		w := &watch{service: svc, listeners: map[*endpoints.Listener]bool{}, turnedAway: st.TurnedAway, found: st.Found, lastFull: st.LastFull.Time()}
		a.watches.add(w)
		a.restored.watches = append(a.restored.watches, w)
	}
	a.restored.shortages = map[uint64]ShortageState{}
	for _, st := range s.Shortages {
		a.restored.shortages[st.Socket] = st
	}
	if s.Suppressed {
		a.suppressed <- struct{}{}
	}
	return nil
}

func restoreWaiter(s *WaitingState, d *carry.Descriptors, specs *service.RestoredSpecs) (w restoredWaiter, err error) {
	if s.Header != nil {
		if err := s.Header.Reader.Check(); err != nil {
			return w, err
		}
	}
	spec, err := specs.Spec(s.Spec)
	if err != nil {
		return w, err
	}
	conn, err := listen.RestoreConn(&s.Conn, d)
	if err == nil && conn.FD < 0 {
		err = errors.New("there is no descriptor")
	}
	if err != nil {
		return w, err
	}
	return restoredWaiter{candidate{spec: spec, conn: conn, peer: peerOf(conn), own: true}, s.Header}, nil
}

// startRestored begins with what Restore was given.
func (a *Acceptor) startRestored() {
	for _, w := range a.restored.waiting {
		a.startWaiter(w)
	}
	for _, w := range a.restored.watches {
		a.goroutine.Go(func() { a.watch(w) })
	}
	a.restored = restored{}
}

// startWaiter has a connection wait on.
func (a *Acceptor) startWaiter(r restoredWaiter) {
	s := r.spec.Owner()
	if r.spec.CheckCurrent() != nil {
		r.spec = s.Spec() // nothing has been decided yet
	}
	q := a.queues.of(s)
	q.reenter()
	var w *waiter
	var failed error
	if r.header != nil {
		w = &waiter{candidate: r.candidate, queue: q, deadline: r.header.Deadline.Time()}
		w.reader, failed = proxy.NewReader(r.conn.FD, a.headers)
		if failed == nil {
			if failed = w.reader.Restore(&r.header.Reader); failed == nil && r.header.Evicted {
				failed = errEvicted
			}
			if failed != nil {
				w.reader.Close()
			}
		}
		if failed == nil {
			q.add(w.reader)
		}
	}
	a.waiters.begin()
	a.goroutine.Go(func() {
		defer a.waiters.end()
		defer q.leave()
		switch {
		case w == nil && s.Draining():
			a.refuse(r.candidate, admit.Draining, nil)
		case w == nil:
			// The loop and the log hear of a start that failed from the dispatcher.
			_ = a.admit(r.candidate, s.Gate.Admit(r.peer, time.Now(), false))
		case failed != nil:
			a.goOnAfterHeader(r.candidate, proxy.Header{}, failed)
		default:
			header, err := a.read(w)
			a.goOnAfterHeader(r.candidate, header, err)
		}
	})
}

// restoreShortage gives an intake of a listener the shortage that it had.
func (a *Acceptor) restoreShortage(in *intake) {
	if len(a.restored.shortages) == 0 {
		return
	}
	inode, err := in.Inode()
	st, found := a.restored.shortages[inode]
	if err != nil || !found || st.Pause <= 0 {
		return
	}
	in.shortage.failures, in.shortage.until = backoff.After(st.Pause), st.Until.Time()
	in.shortage.short.Store(true)
	if wait := time.Until(in.shortage.until); wait > 0 {
		in.holdFor(min(wait, backoff.Max))
	}
}

package accept

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// A watch looks every second whether clients wait for a slot of a service that is
// full, or are turned away for want of one. It begins when a client finds the service full,
// and ends when it is not any more, so it costs nothing while there are slots.
type watch struct {
	service *service.Service

	// The mutex of watches guards what follows.

	listeners  map[*endpoints.Listener]bool // where clients may wait for a slot
	waiting    int                          // clients that wait after their PROXY header
	turnedAway bool                         // somebody was since the last look
	found      bool                         // full since the last look

	// The goroutine of the watch owns what follows.

	lastFull time.Time
}

// A crowd is who wants the slots that a service does not have.
type crowd struct {
	listeners  []*endpoints.Listener // where somebody may wait
	waiting    int                   // clients that wait after their PROXY header
	turnedAway bool                  // somebody was
}

// watches are those of all services that are full or were a moment ago.
type watches struct {
	looking sync.RWMutex // held for reading by watches that look; a pause holds it

	mu      sync.Mutex // guards what follows
	running map[*service.Service]*watch
}

const (
	watchInterval = time.Second
	// fullAgain is how soon a service with clients that wait has to be full again,
	// or else it counts as not congested any more. A slot that comes free is free
	// for a moment.
	fullAgain = 3 * time.Second
)

// foundFull has a service watched that has no free slot. note puts down who wants one.
func (a *Acceptor) foundFull(s *service.Service, note func(*watch)) *watch {
	a.watches.mu.Lock()
	defer a.watches.mu.Unlock()
	w := a.watches.running[s]
	if w == nil {
		w = &watch{service: s, listeners: map[*endpoints.Listener]bool{}}
		if !a.cfg.OneConnection { // whose slot is never free again
			a.watches.add(w)
			a.goroutine.Go(func() { a.watch(w) })
		}
	}
	w.found = true
	note(w)
	return w
}

// add notes a watch. The mutex is held.
func (ws *watches) add(w *watch) {
	if ws.running == nil {
		ws.running = map[*service.Service]*watch{}
	}
	ws.running[w.service] = w
}

// stopsWaiting notes that a client does not wait for a slot any more.
func (ws *watches) stopsWaiting(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.waiting--
}

// watch looks after a service until it is not full any more and the log has all that
// there is to tell.
func (a *Acceptor) watch(w *watch) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		c, over := a.lookOnce(w)
		if over {
			return
		}
		select {
		case <-ticker.C:
		case <-a.cfg.Stopping:
			w.tell(false, &c, time.Now())
			return
		}
	}
}

// lookOnce looks after a service. It reports whether that was the last time.
func (a *Acceptor) lookOnce(w *watch) (c crowd, over bool) {
	a.watches.looking.RLock()
	defer a.watches.looking.RUnlock()
	now := time.Now()
	c = a.watches.take(w)
	full, congested := w.look(&c, now)
	w.tell(congested, &c, now)
	return c, !full && !congested && w.service.Congestion.Settled() && a.watches.end(w)
}

// take returns who wants a slot. It forgets the listeners that are closed or belong to
// another service by now.
func (ws *watches) take(w *watch) crowd {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	c := crowd{waiting: w.waiting, turnedAway: w.turnedAway}
	w.turnedAway, w.found = false, false
	for l := range w.listeners {
		select {
		case <-l.Closed():
			delete(w.listeners, l)
			continue
		default:
		}
		if l.Spec().Owner() != w.service {
			delete(w.listeners, l)
			continue
		}
		c.listeners = append(c.listeners, l)
	}
	return c
}

// end ends a watch, unless the service was found full meanwhile.
func (ws *watches) end(w *watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.found || w.waiting > 0 {
		return false
	}
	delete(ws.running, w.service)
	return true
}

// look reports whether the service is full, and whether that keeps clients out.
func (w *watch) look(c *crowd, now time.Time) (full, congested bool) {
	counts := w.service.Gate.Counts()
	if full = counts.Held+counts.Reserved >= counts.Limit; full {
		w.lastFull = now
	}
	waiting := c.waiting > 0 || slices.ContainsFunc(c.listeners, func(l *endpoints.Listener) bool { return l.Waiting() })
	since, _ := w.service.Congestion.State(now)
	switch {
	case w.service.Draining():
		congested = false // there is nothing to wait for
	case since.IsZero():
		congested = full && (waiting || c.turnedAway)
	case counts.Wait:
		congested = waiting && now.Sub(w.lastFull) < fullAgain
	default:
		congested = full || c.turnedAway
	}
	return full, congested
}

// tell writes what the log has to tell.
func (w *watch) tell(congested bool, c *crowd, now time.Time) {
	s := w.service
	switch n := s.Congestion.Observe(congested, now); {
	case n.Began:
		s.Log.Warn(logging.EventFull, zap.Int("slots", s.Gate.Counts().Limit), c.clients(),
			lasted(n.Duration), logging.Suppressed(n.Suppressed))
	case n.Ended:
		s.Log.Info(logging.EventNotFull, lasted(n.Duration), logging.Suppressed(n.Suppressed))
	}
}

func lasted(d time.Duration) zap.Field {
	if d == 0 {
		return zap.Skip()
	}
	return logging.Duration(d)
}

// clients is how many clients wait, as far as the kernel tells.
func (c *crowd) clients() zap.Field {
	n := c.waiting
	var unixQueues map[uint64]sockdiag.Queue // by inode; nil until one is needed
	for _, l := range c.listeners {
		if waiting, _, ok := l.Queue(); ok {
			n += waiting
			continue
		}
		if unixQueues == nil {
			unixQueues, _ = sockdiag.Listening()
		}
		if inode, err := l.Inode(); err == nil {
			n += unixQueues[inode].Length
		}
	}
	if n == 0 {
		return zap.Skip()
	}
	return zap.Int("waiting", n)
}

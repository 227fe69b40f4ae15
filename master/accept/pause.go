package accept

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/proxy"
)

// It is asked pauseYields times at once whether everybody stands still, and then after each
// pauseInterval.
const (
	pauseYields   = 100
	pauseInterval = time.Millisecond
)

// Pause has nobody accept, decide about a connection or read from one until Proceed. It
// waits until nobody does, for at most a time: a start of a process may hang, or wait for
// descriptors. On error everything goes on.
//
// Only the loop may call it. It costs those who accept nothing while there is none.
func (a *Acceptor) Pause(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	a.crew.pause()
	_ = a.set.SetDeadline(time.Unix(1, 0)) // it is not closed: the master does not stop
	a.waiters.pause()
	for tries := 0; ; tries++ {
		crew, still := a.waiters.stand()
		if still && a.crew.stands(crew) && a.watches.looking.TryLock() {
			return nil
		}
		if time.Now().After(deadline) {
			a.goOn()
			return errors.New("a connection that was accepted is not served in time")
		}
		if tries < pauseYields { // Go sleeps for a millisecond at least
			runtime.Gosched()
		} else {
			time.Sleep(pauseInterval)
		}
	}
}

// Proceed ends a pause.
func (a *Acceptor) Proceed() {
	a.watches.looking.Unlock()
	a.startRestored()
	a.goOn()
}

func (a *Acceptor) goOn() {
	_ = a.set.SetDeadline(time.Time{})
	a.waiters.resume()
	a.crew.resume()
}

// A waiter is a connection that waits, for its PROXY header or after that for a slot. One
// goroutine has it.
type waiter struct {
	candidate

	// These are of one that waits for its header.

	queue    *proxyQueue
	reader   *proxy.Reader // nil: the header has come
	deadline time.Time
}

// waiters are the connections that wait, and whether those who have them may go on.
type waiters struct {
	mu      sync.Mutex // guards what follows
	all     map[*waiter]bool
	crew    int           // of them, that goroutines of the crew have
	acting  int           // other goroutines that do not wait at the moment
	parked  int           // of all, those that a pause has stopped
	pausing chan struct{} // closed in a pause
	over    chan struct{} // closed at its end
}

func newWaiters() waiters { return waiters{all: map[*waiter]bool{}, pausing: make(chan struct{})} }

// begin notes that a goroutine is about to start that has a connection. It calls end.
func (ws *waiters) begin() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.acting++
}

func (ws *waiters) end() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.acting--
}

// wait notes that a connection waits from now on. A pause interrupts that: the reader is
// paused, and the channel closed. The caller then calls goOn.
func (ws *waiters) wait(w *waiter) (pausing <-chan struct{}) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all[w] = true
	if w.own {
		ws.acting--
	} else {
		ws.crew++
	}
	if ws.over != nil && w.reader != nil {
		w.reader.Pause()
	}
	return ws.pausing
}

// goOn notes that a connection waits no more. It returns when there is no pause.
func (ws *waiters) goOn(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for ws.over != nil {
		over := ws.over
		ws.parked++
		ws.mu.Unlock()
		<-over
		ws.mu.Lock()
		ws.parked--
	}
	if w.reader != nil {
		w.reader.Resume()
	}
	delete(ws.all, w)
	if w.own {
		ws.acting++
	} else {
		ws.crew--
	}
}

func (ws *waiters) pause() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.over = make(chan struct{})
	close(ws.pausing)
	for w := range ws.all {
		if w.reader != nil {
			w.reader.Pause()
		}
	}
}

func (ws *waiters) resume() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	close(ws.over)
	ws.over, ws.pausing = nil, make(chan struct{})
}

// stand reports whether all goroutines of their own stand still, and how many of the crew
// do.
func (ws *waiters) stand() (crew int, still bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.crew, ws.acting == 0 && ws.parked == len(ws.all)
}

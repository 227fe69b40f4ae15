package accept

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// An intake is a listener from which connections are accepted, and what keeps them from
// being so for a time: no free slot, a shortage, programs that are slow to start.
// Meanwhile the listener is not watched, and connections wait in the kernel's queue.
type intake struct {
	*endpoints.Listener
	set      *epoll.Set
	key      int32
	limit    int // how many goroutines may have a connection of it
	shortage exhaustion
	stopping <-chan struct{}

	// delayed is when a connection last had to wait for long in the kernel's queue, as a
	// time of the acceptor's clock.
	delayed atomic.Int64

	mu      sync.Mutex // guards what follows
	serving int        // goroutines that have a connection of it
	holds   int        // reasons for which it is not watched
	crowded bool       // one of them is that too many serve
}

// open begins to watch the listener.
func (i *intake) open() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watch()
}

// watch watches the listener if nothing speaks against it. The lock is held.
func (i *intake) watch() {
	if i.holds > 0 {
		return
	}
	err := i.Watch(i.set, i.key)
	if err == nil || errors.Is(err, listen.ErrClosed) {
		return
	}
	// The kernel has no memory for it, or the master stops.
	select {
	case <-i.stopping:
		return
	default:
	}
	i.holds++
	wait, first := i.shortage.met(time.Now())
	if first {
		i.Spec().Owner().Log.Warn("accept failed", logging.Local(i.Local()), logging.Error(err))
	}
	time.AfterFunc(wait, i.release)
}

// hold keeps connections waiting until release.
func (i *intake) hold() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.holdLocked()
}

func (i *intake) holdLocked() {
	if i.holds++; i.holds == 1 {
		i.Unwatch()
	}
}

// holdFor keeps connections waiting for a time.
func (i *intake) holdFor(d time.Duration) {
	i.hold()
	time.AfterFunc(d, i.release)
}

// release ends what hold began.
func (i *intake) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.releaseLocked()
}

func (i *intake) releaseLocked() {
	i.delay()
	i.holds--
	i.watch()
}

// crowdedOut reports whether too many goroutines have a connection of the listener to
// take another one. Then connections wait until one of them is done.
func (i *intake) crowdedOut() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.serving < i.limit || i.crowded {
		return i.crowded
	}
	i.crowded = true
	i.holdLocked()
	return true
}

// begin notes that a goroutine has a connection. It must call done.
func (i *intake) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serving++
}

func (i *intake) done() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serving--
	if i.crowded {
		i.crowded = false
		i.releaseLocked()
	}
}

// delay notes that connections had to wait for long, until now.
func (i *intake) delay() { i.delayed.Store(now()) }

// begun is when the clock of the acceptor was zero.
var begun = time.Now()

// now returns the time of the acceptor's clock, in ns.
func now() int64 { return int64(time.Since(begun)) }

// intakes are those of all listeners, by their keys.
type intakes struct {
	mu   sync.Mutex
	last int32
	all  map[int32]*intake
}

// add gives an intake a key of its own.
func (s *intakes) add(in *intake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[int32]*intake{}
	}
	for s.last++; s.all[s.last] != nil; s.last++ {
	}
	in.key = s.last
	s.all[in.key] = in
}

func (s *intakes) remove(in *intake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, in.key)
}

// of returns the intake of a key, or nil.
func (s *intakes) of(key int32) *intake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[key]
}

package master

import (
	"sync"
	"time"
)

// A spawn is the outcome of one: a worker with its child, or an error; or
// neither, when it turned out not to be needed.
type spawn struct {
	worker *worker
	err    error
	took   time.Duration // until the exec
}

// outcomes carries spawns from those who make them to the loop.
//
// It is a list and not a channel because the loop need not be woken for most
// of them: a worker that was just spawned has nothing to be done for it until
// it ends, and then SIGCHLD wakes the loop, which takes what is here before it
// reaps. On a busy master that is one wake-up in three.
//
// Only when a child ends so soon that its exit is here before it is, nothing
// would ever wake the loop for it again. So the loop says when it has such an
// exit, and then every outcome is urgent.
type outcomes struct {
	wake chan struct{} // holds one: something in the list will not wait

	mu    sync.Mutex // guards what follows
	list  []spawn
	early bool // the loop has an exit that may belong to what is to come
}

// maxUnseen bounds how many workers the loop has not heard of. Each holds a
// pidfd until it is registered.
const maxUnseen = 32

func newOutcomes() *outcomes { return &outcomes{wake: make(chan struct{}, 1)} }

// add adds an outcome, and wakes the loop when it is urgent.
func (o *outcomes) add(s spawn, urgent bool) {
	o.mu.Lock()
	o.list = append(o.list, s)
	urgent = urgent || o.early || len(o.list) >= maxUnseen
	o.mu.Unlock()
	if !urgent {
		return
	}
	select {
	case o.wake <- struct{}{}:
	default: // it is being woken already
	}
}

// expect says whether the loop has an exit that may belong to an outcome to
// come. It reports whether there are outcomes already: then the loop has to
// take those first.
func (o *outcomes) expect(early bool) (some bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.early = early
	return len(o.list) > 0
}

// take returns all outcomes since the last call, the oldest first. The slice
// into is used again.
func (o *outcomes) take(into []spawn) []spawn {
	o.mu.Lock()
	defer o.mu.Unlock()
	into = append(into[:0], o.list...)
	clear(o.list)
	o.list = o.list[:0]
	return into
}

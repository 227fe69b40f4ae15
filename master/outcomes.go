package master

import "sync"

// A spawn is the outcome of one: a worker with its child, or an error; or
// neither, when it turned out not to be needed.
type spawn struct {
	worker *worker
	err    error
}

// outcomes carries spawns from those who make them to the loop.
//
// It is a list and not a channel because the loop need not be woken for most
// of them: a worker that was just spawned has nothing to be done for it until
// it ends, and then SIGCHLD wakes the loop, which takes what is here before it
// reaps. On a busy master that is one wake-up in three.
type outcomes struct {
	wake chan struct{} // holds one: something in the list will not wait

	mu   sync.Mutex // guards list
	list []spawn
}

// maxUnseen bounds how many workers the loop has not heard of. Each holds a
// pidfd until it is registered.
const maxUnseen = 32

func newOutcomes() *outcomes { return &outcomes{wake: make(chan struct{}, 1)} }

// add adds an outcome, and wakes the loop when it is urgent.
func (o *outcomes) add(s spawn, urgent bool) {
	o.mu.Lock()
	o.list = append(o.list, s)
	urgent = urgent || len(o.list) >= maxUnseen
	o.mu.Unlock()
	if !urgent {
		return
	}
	select {
	case o.wake <- struct{}{}:
	default: // it is being woken already
	}
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

package dispatch

import (
	"sync"
	"time"

	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/workers"
)

// An Outcome is what became of a start: a worker with its process, or an error
// and a worker without one. With ErrGone there is no worker. The zero Outcome is a start that turned out not to
// be needed.
type Outcome struct {
	Worker *workers.Worker
	Conn   *service.Connection // that the worker was started for; nil for a spare
	Err    error
	Took   time.Duration // until the exec
}

// An outcomeQueue carries outcomes from those who start workers to the loop.
//
// It is a list and not a channel because the loop need not be woken for most of
// them: a worker that was just started has nothing to be done for it until it
// ends, and then SIGCHLD wakes the loop, which takes what is here before it
// reaps. On a busy master that saves one wake-up in three.
//
// Only when a child ends so soon that its exit is there before its outcome,
// nothing would ever wake the loop for it again. So the loop says when it has
// such an exit, and then every outcome is urgent.
type outcomeQueue struct {
	wake chan struct{} // holds one: something in the list will not wait

	mu     sync.Mutex // guards what follows
	list   []Outcome
	urgent bool // the loop has an exit that may belong to what is to come
}

// maxUnregistered bounds how many workers the loop has not heard of. Each of
// them holds a pidfd until it is registered.
const maxUnregistered = 32

// add adds an outcome, and wakes the loop when it is urgent.
func (q *outcomeQueue) add(o Outcome, urgent bool) {
	q.mu.Lock()
	q.list = append(q.list, o)
	urgent = urgent || q.urgent || len(q.list) >= maxUnregistered
	q.mu.Unlock()
	if urgent {
		q.notify()
	}
}

// notify wakes the loop.
func (q *outcomeQueue) notify() {
	select {
	case q.wake <- struct{}{}:
	default: // it is being woken already
	}
}

func (q *outcomeQueue) setUrgent(urgent bool) (some bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent = urgent
	return len(q.list) > 0
}

func (q *outcomeQueue) take(into []Outcome) []Outcome {
	q.mu.Lock()
	defer q.mu.Unlock()
	into = append(into[:0], q.list...)
	clear(q.list)
	q.list = q.list[:0]
	return into
}

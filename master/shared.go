package master

import (
	"context"
	"sync"
	"time"
)

// A shared is something that is costly to find out and asked for by many. Those
// who ask while it is being found out share the next answer, so that no answer
// is older than its question, and between two there is a pause, so that asking
// more often costs no more.
type shared[T any] struct {
	find  func(context.Context) (T, error)
	pause time.Duration
	limit time.Duration // for finding out

	mu   sync.Mutex // guards what follows
	next *answer[T] // that nobody has begun to find out; nil when nobody asks
	last *turn      // of the answer that was asked for last
}

// A turn is the time of finding out: done is closed at its end.
type turn struct {
	done chan struct{}
	end  time.Time
}

// An answer is there once its turn is done. Nothing holds it but those who
// have asked for it.
type answer[T any] struct {
	*turn
	value T
	err   error
}

// get returns what was found out after it was called. Several callers get the
// same value.
func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	a := s.next
	if a == nil {
		a = &answer[T]{turn: &turn{done: make(chan struct{})}}
		before := s.last
		s.next, s.last = a, a.turn
		// Whoever asks may give up; the others still want to know.
		go s.answer(a, before)
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// answer finds an answer out, some time after the turn before it.
func (s *shared[T]) answer(a *answer[T], before *turn) {
	if before != nil {
		<-before.done
		time.Sleep(s.pause - time.Since(before.end))
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	a.value, a.err = s.find(ctx)
	a.end = time.Now()
	close(a.done)
}

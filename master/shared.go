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

	finding sync.Mutex // held by who finds out; guards ended
	ended   time.Time  // when that was last done

	mu   sync.Mutex
	next *answer[T] // that nobody has begun to find out; nil when nobody asks
}

// An answer is ready once done is closed.
type answer[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get returns what was found out after it was called. Several callers get the
// same value.
func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	a := s.next
	if a == nil {
		a = &answer[T]{done: make(chan struct{})}
		s.next = a
		// Whoever asks may give up; the others still want to know.
		go s.answer(a)
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

func (s *shared[T]) answer(a *answer[T]) {
	s.finding.Lock()
	defer s.finding.Unlock()
	if !s.ended.IsZero() {
		time.Sleep(s.pause - time.Since(s.ended))
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	a.value, a.err = s.find(ctx)
	s.ended = time.Now()
	close(a.done)
}

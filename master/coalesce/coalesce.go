// Package coalesce runs an expensive query for many callers at a bounded rate.
// It owns who waits for which run of the query, and knows nothing of what is
// asked.
package coalesce

import (
	"context"
	"sync"
	"time"
)

// A Group runs one query for many callers, at most once per pause. A caller that
// arrives while the query runs gets the result of the next run, so no result is
// older than the call. (golang.org/x/sync/singleflight gives such a caller the
// result of the run that has begun before.)
type Group[T any] struct {
	query func(context.Context) (T, error)
	pause time.Duration
	limit time.Duration

	mu   sync.Mutex // guards what follows
	next *call[T]   // the run that has not begun; nil when nobody waits for one
	last *run       // the youngest run, begun or not
}

// A run is one execution of the query. done is closed when it ends.
type run struct {
	done chan struct{}
	end  time.Time
}

// A call is a run and its result, which is valid once the run is done. Only the
// callers who wait for the result keep it alive.
type call[T any] struct {
	*run
	value T
	err   error
}

// New returns a group that runs query, with at least pause between two runs.
// The context of a run ends after limit.
func New[T any](query func(context.Context) (T, error), pause, limit time.Duration) *Group[T] {
	return &Group[T]{query: query, pause: pause, limit: limit}
}

// Get returns the result of a run that began after Get was called. Several
// callers get the same value, so nobody may change it. Get ends early with the
// error of ctx.
func (g *Group[T]) Get(ctx context.Context) (T, error) {
	g.mu.Lock()
	c := g.next
	if c == nil {
		c = &call[T]{run: &run{done: make(chan struct{})}}
		before := g.last
		g.next, g.last = c, c.run
		// In a goroutine: the first caller may give up, and the others still
		// want the result.
		go g.run(c, before)
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// run runs the query for a call, after the run before it and a pause.
func (g *Group[T]) run(c *call[T], before *run) {
	if before != nil {
		<-before.done
		time.Sleep(g.pause - time.Since(before.end))
	}
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), g.limit)
	defer cancel()
	c.value, c.err = g.query(ctx)
	c.end = time.Now()
	close(c.done)
}

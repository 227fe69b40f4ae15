package coalesce

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counting returns a group whose query counts its runs, each of a second.
func counting(times *int) *Group[int] {
	return New(func(ctx context.Context) (int, error) {
		*times++
		n := *times
		select {
		case <-time.After(time.Second):
			return n, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, 10*time.Second, time.Minute)
}

func TestGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := 0
		s := counting(&times)
		start := time.Now()
		var all sync.WaitGroup
		ask := func(at time.Duration, want int, wantAfter time.Duration) {
			all.Go(func() {
				time.Sleep(at)
				n, err := s.Get(t.Context())
				if after := time.Since(start); n != want || err != nil || after != wantAfter {
					t.Errorf("called after %v: %d, %v after %v; want %d after %v", at, n, err, after, want, wantAfter)
				}
			})
		}
		ask(0, 1, time.Second)
		// These call during the first run: one run after a pause, for all of
		// them, that is not older than their calls.
		for i := range 20 {
			ask(time.Millisecond+time.Duration(i)*500*time.Millisecond, 2, 12*time.Second)
		}
		ask(11*time.Second+time.Millisecond, 3, 23*time.Second)
		ask(time.Hour, 4, time.Hour+time.Second) // after a long rest: at once
		all.Wait()
		if times != 4 {
			t.Errorf("the query ran %d times", times)
		}
	})
}

// A caller who gives up changes nothing for the others.
func TestGetGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := 0
		s := counting(&times)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		all.Go(func() {
			if n, err := s.Get(t.Context()); n == 0 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
		all.Wait()
		s.limit = time.Millisecond
		if _, err := s.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s.limit = time.Minute
		if _, err := s.Get(t.Context()); err != nil {
			t.Errorf("after a failure: %v", err)
		}
	})
}

package reloading

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/preforkd/preforkd/master/control"
)

var noon = time.Date(2000, time.January, 1, 12, 0, 0, 0, time.Local)

// waiter returns one who waits, and where the outcome will be.
func waiter() (ws Waiters, outcome <-chan Outcome) {
	w := make(chan Outcome, 1)
	return Waiters{w}, w
}

func services(drains []Drain) (names []string) {
	for _, d := range drains {
		names = append(names, d.Service)
	}
	return names
}

func wantDrains(t *testing.T, q *Queue, want ...string) {
	t.Helper()
	if got := services(q.TakeDrains()); !slices.Equal(got, want) {
		t.Errorf("drains of %q are to be done again, want %q", got, want)
	}
}

// Those who ask while a reload is under way wait for one more, all for the same.
func TestQueue(t *testing.T) {
	q := New("")
	if q.File() != nil || q.UnderWay() || q.Timeout() != nil {
		t.Error("there is something in a new queue")
	}
	first, firstOutcome := waiter()
	second, secondOutcome := waiter()
	third, thirdOutcome := waiter()
	q.Begin(first, noon)
	q.Enqueue(second)
	q.Enqueue(third)
	if !q.UnderWay() || q.Overdue() || q.Problem() != "" {
		t.Errorf("under way %v, overdue %v, problem %q", q.UnderWay(), q.Overdue(), q.Problem())
	}
	q.End().Tell(Outcome{})
	if len(firstOutcome) != 1 || q.UnderWay() || q.Timeout() != nil {
		t.Error("the first reload has not ended")
	}
	next, queued := q.TakeQueued()
	if !queued {
		t.Fatal("no reload waits")
	}
	q.Begin(next, noon)
	if _, queued := q.TakeQueued(); queued {
		t.Error("a reload still waits that was taken")
	}
	q.End().Tell(Outcome{})
	if len(firstOutcome) != 1 || len(secondOutcome) != 1 || len(thirdOutcome) != 1 {
		t.Errorf("%d, %d and %d outcomes, want one each", len(firstOutcome), len(secondOutcome), len(thirdOutcome))
	}
}

// A signal asks for a reload, and nobody waits.
func TestQueuedWithoutWaiters(t *testing.T) {
	q := New("")
	q.Begin(nil, noon)
	q.Enqueue(nil)
	if waiters, queued := q.TakeQueued(); !queued || len(waiters) != 0 {
		t.Errorf("queued %v, %d wait", queued, len(waiters))
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New("")
		q.Begin(nil, time.Now())
		begun := time.Now()
		<-q.Timeout()
		if after := time.Since(begun); after != limit {
			t.Errorf("a reload takes too long after %v, want %v", after, limit)
		}
		if since := q.MarkOverdue(); !since.Equal(begun) || !q.Overdue() || q.Timeout() != nil {
			t.Errorf("since %v, overdue %v", since, q.Overdue())
		}
		q.End()
		if q.Overdue() || q.Problem() != "" {
			t.Errorf("overdue %v, problem %q after the end", q.Overdue(), q.Problem())
		}
	})
}

// Who waits for a reload that is overdue is told so, once.
func TestTellOverdue(t *testing.T) {
	q := New("")
	first, outcome := waiter()
	q.Begin(first, noon)
	q.MarkOverdue()
	q.TellOverdue()
	e, ok := errors.AsType[*control.Error]((<-outcome).Err)
	if !ok || e.Kind != control.Unavailable || !strings.HasPrefix(e.Text, "not reloaded yet: a reload has been under way since 12:00:00: ") {
		t.Errorf("got %v, want that it is not reloaded yet", e)
	}
	if len(q.End()) != 0 {
		t.Error("who was told still waits")
	}
}

// One reload at most is given up and has not ended. Its result counts for nothing, and
// that of the one after it does.
func TestGiveUp(t *testing.T) {
	q := New("")
	first := q.Begin(nil, noon)
	q.MarkOverdue()
	if err := q.GiveUp(); err != nil || q.UnderWay() || q.Overdue() {
		t.Fatalf("%v, under way %v, overdue %v", err, q.UnderWay(), q.Overdue())
	}
	second := q.Begin(nil, noon.Add(time.Minute))
	q.MarkOverdue()
	err := q.GiveUp()
	if err == nil || !strings.HasPrefix(err.Error(), "a reload has been under way since 12:00:00: ") {
		t.Errorf("got %v, want that the first reload is under way", err)
	}
	if !q.Overdue() || q.Problem() != err.Error() {
		t.Errorf("overdue %v, problem %q", q.Overdue(), q.Problem())
	}
	if q.EndGivenUp(second) {
		t.Error("the second reload counts as given up")
	}
	if !q.EndGivenUp(first) || q.EndGivenUp(first) {
		t.Error("the first reload does not end once as one that was given up")
	}
	if !strings.Contains(q.Problem(), " since 12:01:00: ") {
		t.Errorf("problem %q, want the second reload", q.Problem())
	}
	if err := q.GiveUp(); err != nil || !q.EndGivenUp(second) {
		t.Errorf("%v: the second reload is not given up", err)
	}
}

// A reload does not undo a drain that was asked for after it, and one that was asked for
// after the drain does.
func TestDrains(t *testing.T) {
	q := New("")
	q.NoteDrain("before", "test")
	q.Begin(nil, noon)
	q.NoteDrain("after the first", "test")
	q.NoteDrain("brought back", "test")
	q.ForgetDrain("brought back")
	q.Enqueue(nil)
	q.NoteDrain("after the second", "test")
	q.End()
	wantDrains(t, q, "after the first", "after the second")
	q.TakeQueued()
	q.Begin(nil, noon)
	q.End()
	wantDrains(t, q, "after the second")
	wantDrains(t, q)
}

// The next reload takes the place of one that is overdue, in what it undoes, too. One
// that was refused undoes nothing.
func TestDrainsOfOverdueReloads(t *testing.T) {
	q := New("")
	q.Begin(nil, noon)
	q.NoteDrain("after the first", "test")
	q.Enqueue(nil)
	q.NoteDrain("after the second", "test")
	q.MarkOverdue()
	q.TakeQueued()
	if err := q.GiveUp(); err != nil {
		t.Fatal(err)
	}
	q.Begin(nil, noon)
	q.Enqueue(nil)
	q.NoteDrain("after the third", "test")
	q.MarkOverdue()
	q.TakeQueued()
	if q.GiveUp() == nil {
		t.Fatal("two reloads are given up")
	}
	q.End()
	wantDrains(t, q, "after the second", "after the third")
	wantDrains(t, q) // the next reload is asked for after all of them
}

func TestFailure(t *testing.T) {
	q := New("")
	q.SetFailure("no such file")
	if q.Failure() != "no such file" || q.Problem() != "" {
		t.Errorf("failure %q, problem %q", q.Failure(), q.Problem())
	}
	if q.SetFailure(""); q.Failure() != "" {
		t.Errorf("failure %q after a reload that worked", q.Failure())
	}
}

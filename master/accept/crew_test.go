package accept

import (
	"testing"
	"testing/synctest"
	"time"
)

// A crewStage counts the goroutines that a crew would start.
type crewStage struct {
	*crew
	started int
}

func newCrewStage(width int) *crewStage {
	st := &crewStage{}
	st.crew = newCrew(func() { st.started++ })
	st.width = width
	return st
}

func (st *crewStage) check(t *testing.T, when string, led bool, started, slow int) {
	t.Helper()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.led != led || st.started != started || st.slow != slow {
		t.Errorf("%s: led %v, want %v; %d were started, want %d; %d are slow, want %d", when, st.led, led, st.started, started, st.slow, slow)
	}
}

// One client after the other takes one goroutine, which leads again when it is done.
func TestCrewOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newCrewStage(8)
		defer st.end()
		st.begin()
		st.begin()
		st.check(t, "at first", true, 1, 0)
		var turn turn
		for range 100 {
			st.take(&turn)
			st.leave(&turn, false)
			st.check(t, "while it serves", false, 1, 0)
			time.Sleep(time.Millisecond)
			if !st.done(&turn) {
				t.Fatal("nobody leads")
			}
		}
		st.check(t, "at the end", true, 1, 0)
	})
}

// With more connections others are woken, as many as there are processors.
func TestCrewUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newCrewStage(3)
		defer st.end()
		st.begin()
		turns := make([]turn, 4)
		st.take(&turns[0])
		st.leave(&turns[0], true)
		st.check(t, "one serves", true, 2, 0)
		st.take(&turns[1])
		st.leave(&turns[1], true)
		st.check(t, "two serve", true, 3, 0)
		st.take(&turns[2])
		st.leave(&turns[2], true)
		st.check(t, "three serve", false, 3, 0)
		if !st.done(&turns[1]) {
			t.Error("the first to be done does not lead")
		}
		st.check(t, "one is done", true, 3, 0)
		// Those who come next are free, and are woken before another one is started.
		leads := make(chan bool)
		for i := range []int{0, 2} {
			go func() { leads <- st.done(&turns[2*i]) }()
		}
		synctest.Wait()
		st.take(&turns[3])
		st.leave(&turns[3], true)
		if !<-leads {
			t.Error("woken for nothing")
		}
		st.check(t, "one who was free leads", true, 3, 0)
		st.end()
		if <-leads {
			t.Error("one leads after the end")
		}
	})
}

// Who is slow is replaced after a moment, and again and again.
func TestCrewWithSlowOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newCrewStage(2)
		defer st.end()
		st.begin()
		turns := make([]turn, 5)
		for i := range turns {
			st.take(&turns[i])
			st.leave(&turns[i], i%2 == 1)
			time.Sleep(2 * handOver)
			st.check(t, "slow", true, i+2, i+1)
		}
		// They do not count among those for whom there are processors.
		var quick turn
		st.take(&quick)
		st.leave(&quick, true)
		st.check(t, "busy", true, len(turns)+2, len(turns))
		for i := range turns[maxFree:] { // so many stay
			if i == 0 {
				go st.done(&turns[0])
				go st.done(&turns[1])
				synctest.Wait()
			}
			if st.done(&turns[maxFree+i]) {
				t.Error("two lead")
			}
		}
		st.check(t, "none is slow", true, len(turns)+2, 0)
		if n := func() int { st.mu.Lock(); defer st.mu.Unlock(); return st.free }(); n != maxFree {
			t.Errorf("%d are free", n)
		}
		// The timer stops when nobody serves.
		if st.done(&quick) {
			t.Error("two lead")
		}
		time.Sleep(time.Second)
		st.mu.Lock()
		if st.timed {
			t.Error("the timer runs")
		}
		st.mu.Unlock()
		st.end()
		synctest.Wait()
	})
}

// Who finds nothing to take goes on leading, unless that took so long that another one
// leads.
func TestCrewWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newCrewStage(2)
		st.begin()
		var first, second turn
		st.take(&first)
		if !st.done(&first) {
			t.Error("the leader does not go on")
		}
		st.check(t, "nothing came", true, 1, 0)
		st.take(&first)
		time.Sleep(2 * handOver)
		st.check(t, "stuck", true, 2, 1)
		st.take(&second) // by the one who was started
		st.leave(&first, true)
		st.check(t, "it has lost the lead", true, 2, 1)
		lead := make(chan bool)
		go func() { lead <- st.done(&first) }()
		synctest.Wait()
		if st.leave(&second, true); !<-lead {
			t.Error("woken for nothing")
		}
		st.check(t, "the first leads again", true, 2, 0)
		st.end()
		if st.done(&second) {
			t.Error("one leads after the end")
		}
	})
}

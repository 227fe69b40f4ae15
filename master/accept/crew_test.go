package accept

import (
	"testing"
	"testing/synctest"
	"time"
)

// A crewStage counts the goroutines that a crew would start, and is its guard.
type crewStage struct {
	*crew
	started int
	armed   bool
	broken  bool // it cannot be armed
}

func newCrewStage(width int) *crewStage {
	st := &crewStage{}
	st.crew = newCrew(func() { st.started++ }, st)
	st.width = width
	return st
}

func (st *crewStage) arm() bool { st.armed = !st.broken; return st.armed }
func (st *crewStage) disarm()   { st.armed = false }

// arrive lets a connection arrive.
func (st *crewStage) arrive() {
	st.mu.Lock()
	armed := st.armed
	st.armed = false
	st.mu.Unlock()
	if armed {
		st.relieve()
	}
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
			if !st.armed {
				t.Error("a connection that comes now is not noticed")
			}
			time.Sleep(time.Millisecond)
			if !st.done(&turn) {
				t.Fatal("nobody leads")
			}
		}
		st.check(t, "at the end", true, 1, 0)
		if st.armed {
			t.Error("a connection that comes now wakes two")
		}
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

// While one serves, another one leads as soon as a connection comes.
func TestCrewIsRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newCrewStage(2)
		defer st.end()
		st.begin()
		var first, second turn
		st.take(&first)
		st.leave(&first, false)
		time.Sleep(time.Hour) // a program that hangs takes nothing from anybody
		st.check(t, "nobody has come", false, 1, 1)
		st.arrive()
		st.check(t, "a connection has come", true, 2, 1)
		st.relieve() // it was told late
		st.check(t, "told late", true, 2, 1)
		st.take(&second)
		st.leave(&second, false)
		st.check(t, "two serve", false, 2, 1)
		st.arrive()
		st.check(t, "another one has come", true, 3, 1)
	})
}

// Where there is no processor for more, or no guard, those who are slow are replaced after
// a moment, again and again.
func TestCrewWithSlowOnes(t *testing.T) {
	for name, c := range map[string]struct {
		width  int
		broken bool
	}{"no processor": {1, false}, "no guard": {2, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newCrewStage(c.width)
				st.broken = c.broken
				defer st.end()
				st.begin()
				turns := make([]turn, 5)
				for i := range turns {
					st.take(&turns[i])
					st.leave(&turns[i], false)
					time.Sleep(2 * handOver)
					st.arrive() // seen to be slow, it takes no processor
					st.check(t, "slow", true, i+2, i+1)
				}
				var quick turn
				st.take(&quick)
				st.leave(&quick, true)
				st.check(t, "busy", c.width > 1, len(turns)+c.width, len(turns))
				for i := range maxFree + 1 {
					go st.done(&turns[i]) // the first may lead, and so many stay
				}
				synctest.Wait()
				for i := range turns[maxFree+1:] {
					if st.done(&turns[maxFree+1+i]) && c.width > 1 {
						t.Error("two lead")
					}
				}
				st.check(t, "none is slow", true, len(turns)+c.width, 0)
				if n := func() int { st.mu.Lock(); defer st.mu.Unlock(); return st.free }(); n != maxFree {
					t.Errorf("%d are free", n)
				}
				// The timer stops when nobody serves.
				if st.done(&quick) {
					t.Error("two lead")
				}
				time.Sleep(time.Minute)
				st.mu.Lock()
				if st.timed != 0 {
					t.Error("the timer runs")
				}
				st.mu.Unlock()
				st.end()
				synctest.Wait()
			})
		})
	}
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
		time.Sleep(2 * stuckAfter)
		st.arrive()
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

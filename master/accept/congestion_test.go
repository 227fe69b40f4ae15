package accept

import (
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/logging"
)

// looks looks at a service as its watch does, without one.
func (st *stage) looks(w *watch, turnedAway bool, now time.Time) (full, congested bool) {
	c := crowd{listeners: st.set.All(), turnedAway: turnedAway}
	full, congested = w.look(&c, now)
	w.service.Congestion.Observe(congested, now)
	return full, congested
}

// A service is congested when it is full and somebody waits, and until nobody waits or
// it has not been full for a while.
func TestCongestedWhileClientsWait(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/s"} {
		st := newStageAt(t, address, "max-connections = 1\n")
		w := &watch{service: st.spec.Owner(), listeners: map[*endpoints.Listener]bool{}}
		now := time.Now()
		is := func(when string, wantFull, wantCongested bool) {
			t.Helper()
			if full, congested := st.looks(w, false, now); full != wantFull || congested != wantCongested {
				t.Errorf("%s: full %v, congested %v", when, full, congested)
			}
		}
		is("idle", false, false)
		st.connect(address)
		c := <-st.given
		is("full, and nobody waits", true, false)
		client := st.connect(address)
		is("full, and one waits", true, true)
		now = now.Add(fullAgain - 1)
		is("full still", true, true)
		st.spec.Owner().Gate.Release(c.Slot, now)
		c.File.Close()
		c = <-st.given
		is("the one has its slot", true, false)
		client.Close()
		c.File.Close()
	}
}

// Where clients are turned away it is congested from the first of them until there is
// a slot and none was.
func TestCongestedWhileClientsAreTurnedAway(t *testing.T) {
	st := newStage(t, "max-connections = 1\noverflow = 'refuse'\n")
	w := &watch{service: st.spec.Owner()}
	now := time.Now()
	st.dial()
	c := <-st.given
	for i, step := range []struct{ turnedAway, congested bool }{{false, false}, {true, true}, {false, true}} {
		if full, congested := st.looks(w, step.turnedAway, now); !full || congested != step.congested {
			t.Errorf("step %d: full %v, congested %v", i, full, congested)
		}
	}
	st.spec.Owner().Gate.Release(c.Slot, now)
	c.File.Close()
	if full, congested := st.looks(w, true, now); full || !congested {
		t.Errorf("a slot is free, and somebody was turned away: full %v, congested %v", full, congested)
	}
	if full, congested := st.looks(w, false, now); full || congested {
		t.Errorf("a slot is free: full %v, congested %v", full, congested)
	}
}

// A watch begins when a client finds the service full, tells the log, and ends with the service's
// congestion; a stop ends it, too.
func TestWatchEnds(t *testing.T) {
	st := newStage(t, "max-connections = 1\n")
	running := func() int {
		st.a.watches.mu.Lock()
		defer st.a.watches.mu.Unlock()
		return len(st.a.watches.running)
	}
	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(slowtest.Scale(time.Minute)); !is(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never %s", what)
			}
		}
	}
	if running() != 0 {
		t.Error("an idle service is watched")
	}
	for range 2 {
		st.dial()
	}
	first := <-st.given
	until("told", func() bool { return st.logs.FilterMessage(logging.EventFull).Len() == 1 })
	if fields := st.logs.FilterMessage(logging.EventFull).All()[0].ContextMap(); fields["slots"] != int64(1) || fields["waiting"] != int64(1) {
		t.Errorf("%v", fields)
	}
	gate := st.spec.Owner().Gate
	gate.Release(first.Slot, time.Now())
	first.File.Close()
	second := <-st.given
	until("over", func() bool { return st.logs.FilterMessage(logging.EventNotFull).Len() == 1 })
	gate.Release(second.Slot, time.Now())
	second.File.Close()
	until("ended", func() bool { return running() == 0 })
	st.dial()
	third := <-st.given
	st.dial()
	until("watched again", func() bool { return running() == 1 })
	third.File.Close()
	st.stop() // waits for the watch
}

package dispatch

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

const manySpares = sdkProgram + "min-spares = 2\nmax-spares = 64\n"

// exported returns a state of a dispatcher with one Spec.
func exported(t *testing.T, d *Dispatcher, spec *service.Spec) (*State, service.State, []service.SpecState) {
	t.Helper()
	specs := &service.SpecRecorder{}
	state, err := d.Export(specs)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := carrytest.Again(t, &state, carry.NewDescriptors())
	return again, spec.Owner().Export(specs), specs.States()
}

// A pool wants as many spares as before, and waits as long for the next one.
func TestPoolsGoOver(t *testing.T) {
	d, spec, _ := newDispatcher(t, manySpares, Config{})
	for range 3 { // connections miss a spare, and spares fail
		d.Pool(spec).Assign(connection(t, spec), time.Now())
		d.Pool(spec).Failed(time.Now().Add(time.Hour), false)
	}
	state, owner, states := exported(t, d, spec)
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint(same), func(t *testing.T) {
			keys := manySpares
			if !same {
				keys += "idle-timeout = '5s'\n"
			}
			compiled := servicetest.Specs(t, "[service.test]\nlisten = ['unix:@preforkd-test']\n"+keys)[0]
			specs, err := service.RestoreSpecs(states, []*service.Spec{compiled})
			if err != nil {
				t.Fatal(err)
			}
			svc, err := service.RestoreService(&owner, specs, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			svc.SetOwner(compiled)
			svc.Install(compiled, time.Now())
			next := New(Config{Starter: &fakeStarter{}})
			next.Open(compiled)
			if err := next.Restore(state, specs); err != nil {
				t.Fatal(err)
			}
			if failing := next.Pool(compiled).Failing(); failing != same {
				t.Errorf("the pool is failing: %v", failing)
			}
			if !same {
				return
			}
			now, _, _ := exported(t, next, compiled)
			// The state is of a time beyond any pause.
			if got, latest := now.Pools[0].BackoffUntil, carry.At(time.Now().Add(time.Second)); got > latest || got < latest-carry.Moment(time.Minute) {
				t.Errorf("the next spare comes at %d, want %d", got, latest)
			}
			now.Pools[0].BackoffUntil = state.Pools[0].BackoffUntil
			carrytest.Same(t, now, state)
			if err := next.Restore(&State{Pools: append(state.Pools, state.Pools[0])}, specs); err == nil {
				t.Error("a service has two pools")
			}
		})
	}
}

// Nothing is started while filling is paused, and all that was begun has an end.
func TestPauseFilling(t *testing.T) {
	stopping := make(chan struct{})
	d, spec, f := newDispatcher(t, manySpares, Config{Stopping: stopping})
	d.PauseFilling()
	d.Fill(spec)
	time.Sleep(20 * time.Millisecond) // time for who would start one
	if n := f.count(); n != 0 || d.InFlight() != 0 {
		t.Errorf("%d workers were started, %d are in flight", n, d.InFlight())
	}
	d.Resume()
	slowtest.Await(t, "two spares", func() bool { return f.count() == 2 })
	if _, err := d.Export(&service.SpecRecorder{}); err == nil {
		t.Error("a dispatcher was exported while workers were being started")
	}
	d.PauseFilling()
	slowtest.Await(t, "the outcomes", func() bool {
		for range d.Take(nil) {
			d.Taken()
		}
		return d.InFlight() == 0
	})
	if _, err := d.Export(&service.SpecRecorder{}); err != nil {
		t.Error(err)
	}
	d.Resume()
	close(stopping)
	d.Wait()
}

package dispatch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/workers"
)

// Not carried: starts and outcomes, of which there are none when a state is made;
// connections that wait for descriptors, which are starts; programs of which starts hang,
// which are starts, too; and closed pools, which package workers makes anew where a
// worker belongs to one.

// A State is the pools of the Specs in force, in the state that a master hands to the
// next one.
type State struct {
	Pools []workers.PoolState `json:"pools,omitempty"`
}

// PauseFilling has no spare be started any more, until Resume, but for those whose start
// has begun. When also nobody calls Dispatch, Redispatch, ProgramFailed and StartProbe, the
// loop takes outcomes until InFlight is 0. Nothing is started from then on.
func (d *Dispatcher) PauseFilling() { d.filling.Lock() }

// Resume ends PauseFilling.
func (d *Dispatcher) Resume() { d.filling.Unlock() }

// Export returns the state of a dispatcher that starts nothing. It is an error if it does.
func (d *Dispatcher) Export(specs *service.SpecRecorder) (s State, err error) {
	if n := d.InFlight(); n != 0 {
		return s, fmt.Errorf("%d workers are being started", n)
	}
	var pools []*workers.Pool
	d.pools.Range(func(_, p any) bool {
		pools = append(pools, p.(*workers.Pool))
		return true
	})
	slices.SortFunc(pools, func(a, b *workers.Pool) int { return strings.Compare(a.Spec().Name, b.Spec().Name) })
	for _, p := range pools {
		s.Pools = append(s.Pools, p.Export(specs))
	}
	return s, nil
}

// Restore gives pools what a state has of them. It is called when Open was called for all
// Specs in force and before Fill is. Pools of other Specs are left out.
func (d *Dispatcher) Restore(s *State, specs *service.RestoredSpecs) error {
	seen := map[*service.Spec]bool{}
	for i := range s.Pools {
		state := &s.Pools[i]
		spec, err := specs.Spec(state.Spec)
		if err != nil {
			return fmt.Errorf("a pool: %w", err)
		}
		if seen[spec] {
			return fmt.Errorf("two pools of service %s", spec.Name)
		}
		seen[spec] = true
		p, open := d.pools.Load(spec)
		if !open {
			continue
		}
		if err := p.(*workers.Pool).Restore(state); err != nil {
			return fmt.Errorf("the pool of service %s: %w", spec.Name, err)
		}
	}
	return nil
}

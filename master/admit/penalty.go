package admit

import "time"

// A Penalty is what a source got for a worker that ended badly. The zero
// Penalty is none.
type Penalty struct {
	Source Source
	Length time.Duration
	Level  int // how many it had without a good while between them
	Until  time.Time
}

// Penalize refuses the source of a slot for a time, unless its peer is exempt.
// It is called before the slot is released.
//
// While a source has a penalty, what ends badly is what it began before. That
// makes the penalty last from now on, but not grow: a crash that takes twenty
// connections with it is one offence.
//
// The second result is false when there is no room for one more penalty. The
// source then goes free, because the other choice would be to forget one that
// is being served.
func (g *Gate) Penalize(s *Slot, now time.Time) (Penalty, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &g.policy.Penalties
	if p.First <= 0 || p.exempts(s.peer) {
		return Penalty{}, true
	}
	t := g.now(now)
	g.sources.sweep(t, int64(p.Max), g.policy.MaxSources)
	i := g.sources.find(s.source)
	if s.gate != g || i == 0 {
		panic("admit: a slot was penalized that nobody holds")
	}
	st := &g.sources.states[i]
	if !st.counted {
		if g.sources.penalized >= g.policy.MaxSources {
			g.lost++
			return Penalty{Source: s.source}, false
		}
		st.counted = true
		g.sources.penalized++
	}
	if st.until <= t { // none is being served
		if st.until+int64(p.Max) <= t {
			st.level = 0
		}
		if st.level < maxLevel {
			st.level++
		}
	}
	length := p.length(st.level)
	st.until = max(st.until, t+int64(length))
	return Penalty{s.source, length, int(st.level), g.time(st.until)}, true
}

// maxLevel is far beyond where any growth has reached any cap.
const maxLevel = 100

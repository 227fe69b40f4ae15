package admit

import "time"

// A Penalty is what a source gets when one of its workers ends badly. The zero
// Penalty is none.
type Penalty struct {
	Source Source
	Length time.Duration
	Level  int // how many penalties the source has had in a row
	Until  time.Time
}

// Penalize makes the gate refuse the source of a slot for some time, unless the
// peer is exempt. It must be called before the slot is released.
//
// While a source has a penalty, only connections that are older than the
// penalty can end badly. Each of them makes the penalty last longer, counted
// from now. None of them raises its level: a crash that ends twenty connections
// is one offence.
//
// The second result is false when there is no room for one more penalty. Then
// the source gets none. The alternative would be to forget a penalty that is
// running.
func (g *Gate) Penalize(s *Slot, now time.Time) (Penalty, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &g.policy.Penalties
	if p.First <= 0 || p.exempts(s.peer) {
		return Penalty{}, true
	}
	t := g.now(now)
	g.sources.expireSome(t, int64(p.Max), g.policy.MaxSources)
	i := g.sources.find(s.source)
	if s.gate != g || i == 0 {
		panic("admit: a slot was penalized that nobody holds")
	}
	st := &g.sources.states[i]
	if !st.penalized {
		if g.sources.penalized >= g.policy.MaxSources {
			g.lostPenalties++
			return Penalty{Source: s.source}, false
		}
		st.penalized = true
		g.sources.penalized++
	}
	if st.until <= t { // no penalty is running
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

// maxLevel is high enough for any growth to have reached its maximum.
const maxLevel = 100

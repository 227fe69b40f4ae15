package admit

import "time"

// SetPolicy replaces the policy. It holds at once for what is live: nobody is
// thrown out, but nobody is let in either until the counts are within the new
// limits.
func (g *Gate) SetPolicy(p Policy, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.policy
	g.policy = p
	if old.V4Bits != p.V4Bits || old.V6Bits != p.V6Bits {
		g.recount(old, g.now(now))
	}
	g.wakeAll() // whatever the limit was and is
}

// WakeAll makes everybody look again who waits for a slot, although there may
// be none: what they wait for may no longer be this gate.
func (g *Gate) WakeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wakeAll()
}

func (g *Gate) wakeAll() {
	if g.freed != nil {
		close(g.freed)
		g.freed = nil
	}
}

// recount counts live connections by the sources that new prefix lengths make
// of them. A penalty goes over to the source that its own is now part of, and
// to those of its live connections; where sources have become smaller, what
// else was refused for it is let in. Buckets start full.
func (g *Gate) recount(old Policy, now int64) {
	before := g.sources
	g.sources = newSources()
	inherit := func(st *sourceState, from *sourceState) {
		if from.until <= now || from.until <= st.until {
			return
		}
		st.until, st.level = from.until, from.level
		if !st.counted {
			st.counted = true
			g.sources.penalized++
		}
	}
	for s := g.slots; s != nil; s = s.next {
		from := before.find(s.source)
		s.source = SourceOf(s.peer, g.policy.V4Bits, g.policy.V6Bits)
		inherit(g.live(s.source), &before.states[from])
	}
	for source, i := range before.index {
		st := &before.states[i]
		peer, bits := source.peer()
		within := g.policy.V6Bits
		if peer.Addr.Is4() {
			within = g.policy.V4Bits
		}
		if st.until <= now || !peer.IsUnix() && within > bits {
			continue
		}
		now64 := SourceOf(peer, g.policy.V4Bits, g.policy.V6Bits)
		j := g.sources.find(now64)
		if j == 0 {
			j = g.sources.add(now64)
		}
		inherit(&g.sources.states[j], st)
		if g.sources.states[j].live == 0 {
			g.sources.settle(j, now, int64(g.policy.Penalties.Max), g.policy.MaxSources)
		}
	}
}

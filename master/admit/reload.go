package admit

import "time"

// SetPolicy replaces the policy. Live connections keep their slots. The gate
// admits nobody until the counts are within the new limits.
func (g *Gate) SetPolicy(p Policy, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.policy
	g.policy = p
	if old.V4Bits != p.V4Bits || old.V6Bits != p.V6Bits {
		g.rebuildSources(old, g.now(now))
	}
	g.wakeAll() // they decide by the new limit whether to wait
}

// WakeAll wakes everybody who waits for a slot, even if none is free. They may
// have to ask another gate now.
func (g *Gate) WakeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wakeAll()
}

func (g *Gate) wakeAll() {
	if g.slotFreed != nil {
		close(g.slotFreed)
		g.slotFreed = nil
	}
	for _, f := range g.onSlotFreed {
		f()
	}
	clear(g.onSlotFreed)
	g.onSlotFreed = g.onSlotFreed[:0]
}

// rebuildSources counts the live connections again, by sources with the new
// prefix lengths. A penalty passes to the new source that contains the old one,
// and to the new sources of its live connections. Where sources have become
// smaller, the rest of the old source has no penalty. All buckets are full.
func (g *Gate) rebuildSources(old Policy, now int64) {
	before := g.sources
	g.sources = sources{}
	copyPenalty := func(st *sourceState, from *sourceState) {
		if from.until <= now || from.until <= st.until {
			return
		}
		st.until, st.level = from.until, from.level
		if !st.penalized {
			st.penalized = true
			g.sources.penalized++
		}
	}
	for s := g.slots; s != nil; s = s.next {
		from := before.find(s.source)
		s.source = SourceOf(s.peer, g.policy.V4Bits, g.policy.V6Bits)
		copyPenalty(g.addLive(s.source), &before.states[from])
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
		target := SourceOf(peer, g.policy.V4Bits, g.policy.V6Bits)
		j := g.sources.find(target)
		if j == 0 {
			j = g.sources.add(target)
		}
		copyPenalty(&g.sources.states[j], st)
		if g.sources.states[j].live == 0 {
			g.sources.reclassify(j, now, int64(g.policy.Penalties.Max), g.policy.MaxSources)
		}
	}
}

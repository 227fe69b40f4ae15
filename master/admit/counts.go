package admit

// Counts holds the counters of a gate.
type Counts struct {
	Held, Reserved, Limit int
	Wait                  bool // connections beyond Limit wait
	Refused               [Reasons]uint64
	Sources               int    // sources in memory
	Penalized             int    // sources with a penalty
	LostPenalties         uint64 // penalties for which there was no room
}

// Counts returns the present counters.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Counts{
		Held: g.held, Reserved: g.reserved, Limit: g.policy.MaxConnections, Wait: g.policy.Wait, Refused: g.refused,
		Sources: len(g.sources.index), Penalized: g.sources.penalized, LostPenalties: g.lostPenalties,
	}
}

// Refuse counts a connection that the caller has refused without Admit.
func (g *Gate) Refuse(r Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused[r]++
}

// Total returns the sum of all refusals.
func (c *Counts) Total() (n uint64) {
	for _, r := range c.Refused {
		n += r
	}
	return n
}

package admit

import "time"

// A Policy is what a gate decides by. It is not changed once a gate has it.
type Policy struct {
	// MaxConnections is the number of slots. Wait lets connections beyond it
	// stay in the kernel's queue, where otherwise they are refused.
	MaxConnections int
	Wait           bool

	// V4Bits and V6Bits are the prefix lengths that make up a source.
	V4Bits, V6Bits int
	// MaxSources bounds how many sources are remembered that have no live
	// connection.
	MaxSources int

	Rate   Rate   // of the whole service
	Limits Limits // of each source, unless a rule has others
	Drop   Drop
	Rules  *Rules

	Penalties Penalties
}

// Limits are those of one source. Zero is none.
type Limits struct {
	MaxConnections int
	Rate           Rate
}

// A Drop refuses connections at random, from Start live ones on Percent in a
// hundred, rising evenly to all of them at Full. The zero Drop refuses none.
//
// A flood that fills a service shuts everybody out. Refused at random, those
// who come once in a while still get in, at the cost of those who come often
// (sshd_config(5), MaxStartups).
type Drop struct{ Start, Percent, Full int }

// chance returns how likely a connection is refused, from 0 to 1.
func (d Drop) chance(live int) float64 {
	switch {
	case d.Start == 0 || live < d.Start:
		return 0
	case live >= d.Full:
		return 1
	}
	percent := float64(d.Percent) + float64(100-d.Percent)*float64(live-d.Start)/float64(d.Full-d.Start)
	return percent / 100
}

// Penalties refuse a source for a time after a worker of its ended badly: First
// the first time, Growth times as long each further time, up to Max. A source
// that was good for Max after its penalty starts over.
type Penalties struct {
	First, Max time.Duration
	Growth     int
	Exempt     *Peers[struct{}]
	// DryRun counts penalties and does not refuse for them.
	DryRun bool
}

// length returns how long the penalty of a level is, from 1.
func (p Penalties) length(level uint8) time.Duration {
	d := p.First
	for range level - 1 {
		if d >= p.Max/time.Duration(max(p.Growth, 1)) {
			return p.Max
		}
		d *= time.Duration(max(p.Growth, 1))
	}
	return min(d, p.Max)
}

func (p Penalties) exempts(peer Peer) bool { _, ok := p.Exempt.Lookup(peer); return ok }

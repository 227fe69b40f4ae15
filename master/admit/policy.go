package admit

import "time"

// A Policy holds the rules and limits by which a gate decides. It must not be
// changed after a gate has got it.
type Policy struct {
	// MaxConnections is the number of slots. With Wait, connections beyond it
	// stay in the kernel's queue. Without Wait they are refused.
	MaxConnections int
	Wait           bool

	// V4Bits and V6Bits are the prefix lengths of a source.
	V4Bits, V6Bits int
	// MaxSources is how many sources without a live connection the gate
	// remembers.
	MaxSources int

	Rate   Rate   // of the whole service
	Limits Limits // of each source to which no other limits apply by a rule
	Drop   Drop
	Rules  *Rules

	Penalties Penalties
}

// Limits are the limits of one source. A zero value means no limit.
type Limits struct {
	MaxConnections int
	Rate           Rate
}

// A Drop refuses connections at random. At Start live connections it refuses
// Percent of a hundred. The share rises evenly to all of them at Full. The zero
// Drop refuses none.
//
// A flood that fills a service keeps everybody out. With random refusals,
// clients that come rarely still get in, and clients that come often pay for
// that (sshd_config(5), MaxStartups).
type Drop struct{ Start, Percent, Full int }

// probability returns how likely a connection is refused, from 0 to 1.
func (d Drop) probability(live int) float64 {
	switch {
	case d.Start == 0 || live < d.Start:
		return 0
	case live >= d.Full:
		return 1
	}
	percent := float64(d.Percent) + float64(100-d.Percent)*float64(live-d.Start)/float64(d.Full-d.Start)
	return percent / 100
}

// Penalties say how long a source is refused after one of its workers has ended
// badly. The first penalty takes First. Each further one is longer by the
// factor Growth, up to Max. After a time of Max without a penalty the source
// starts over.
type Penalties struct {
	First, Max time.Duration
	Growth     int
	Exempt     *Peers[struct{}]
	// DryRun makes the gate count penalties without refusing anybody.
	DryRun bool
}

// length returns how long the penalty of a level is. The first level is 1.
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

package admit

import (
	"net/netip"
	"sync"
)

// A Gate holds the slots of one service. It is safe for concurrent use: accept
// goroutines take slots, the master's loop gives them back.
type Gate struct {
	limit int

	// mu guards all that follows.
	mu      sync.Mutex
	taken   int            // slots reserved or held
	sources map[Source]int // slots held, by source; no entry is zero
	freed   chan struct{}  // closed when a slot is free again; nil when nobody waits
}

// NewGate returns a gate with limit slots.
func NewGate(limit int) *Gate {
	return &Gate{limit: limit, sources: make(map[Source]int)}
}

// Reserve takes a slot for a connection that is about to be accepted, if one
// is free. It is followed by either Hold or Cancel.
func (g *Gate) Reserve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken >= g.limit {
		return false
	}
	g.taken++
	return true
}

// Cancel gives a reserved slot back that no connection came for.
func (g *Gate) Cancel() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free()
}

// Hold assigns a reserved slot to a source and returns how many slots the
// source holds now, this one included. It is followed by Release.
func (g *Gate) Hold(source Source) (live int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sources[source]++
	return g.sources[source]
}

// Release gives a held slot back.
func (g *Gate) Release(source Source) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held, ok := g.sources[source]
	switch {
	case !ok:
		panic("admit: a slot was released that its source does not hold")
	case held == 1:
		delete(g.sources, source)
	default:
		g.sources[source] = held - 1
	}
	g.free()
}

// Freed returns a channel that is closed once a slot is free, which may be
// right now. Several may wait for the same slot; those that come late find
// that Reserve fails and wait again.
func (g *Gate) Freed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken < g.limit {
		return closed
	}
	if g.freed == nil {
		g.freed = make(chan struct{})
	}
	return g.freed
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Taken returns the number of slots reserved or held, and the limit.
func (g *Gate) Taken() (taken, limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken, g.limit
}

func (g *Gate) free() {
	if g.taken == 0 {
		panic("admit: more slots given back than were taken")
	}
	g.taken--
	if g.freed != nil {
		close(g.freed)
		g.freed = nil
	}
}

// A Source is what counts as one client: a network prefix, since a single
// host may use any address of its IPv6 subnet. The zero Source stands for all
// unix peers.
type Source struct{ prefix netip.Prefix }

// SourceOf returns the source that an address belongs to, with prefix lengths
// in bits. A v4-mapped address counts as v4; a zone does not matter. The
// lengths must be valid for their families.
func SourceOf(addr netip.Addr, v4bits, v6bits int) Source {
	addr = addr.Unmap().WithZone("")
	bits := v6bits
	if addr.Is4() {
		bits = v4bits
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		panic("admit: " + err.Error())
	}
	return Source{prefix}
}

func (s Source) String() string {
	if !s.prefix.IsValid() {
		return "unix"
	}
	return s.prefix.String()
}

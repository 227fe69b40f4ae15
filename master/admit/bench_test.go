package admit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkAdmit shows that the cost of a decision and a release does not
// depend on the number of sources and rules.
func BenchmarkAdmit(b *testing.B) {
	address := func(i int) Peer {
		// Spread the addresses, so that successive ones are not neighbours in
		// memory.
		n := uint32(i) * 2654435761
		return Peer{Addr: netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})}
	}
	for _, known := range []int{10, 10_000, 1_000_000} {
		for _, rules := range []int{0, 10_000} {
			b.Run(fmt.Sprintf("sources=%d/rules=%d", known, rules), func(b *testing.B) {
				p := open(1 << 20)
				p.MaxSources = known
				p.Rate = Rate{time.Nanosecond, 1 << 20}
				// The time is long enough for every source to stay in memory.
				p.Limits = Limits{MaxConnections: 100, Rate: Rate{time.Hour, 1 << 20}}
				p.Penalties = Penalties{First: time.Second, Max: time.Hour, Growth: 2}
				p.Rules = &Rules{}
				for i := range rules {
					p.Rules.Add(Match{Prefix: netip.PrefixFrom(address(i).Addr, 8+i%25).Masked()}, &Rule{})
				}
				g := NewGate(p, epoch, never)
				now := epoch
				for i := range known {
					g.Release(g.Admit(address(i), now, false).Slot, now)
				}
				if c := g.Counts(); c.Sources != known {
					b.Fatalf("%d sources known, want %d", c.Sources, known)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					i++
					now = now.Add(time.Microsecond)
					d := g.Admit(address(i%known), now, false)
					if d.Slot != nil {
						g.Release(d.Slot, now)
					}
				}
			})
		}
	}
}

// BenchmarkAdmitStrangers measures an attack: every source is new, and another
// one is removed for it.
func BenchmarkAdmitStrangers(b *testing.B) {
	p := open(1 << 20)
	p.MaxSources = 65536
	p.Limits.Rate = Rate{time.Hour, 10}
	g := NewGate(p, epoch, never)
	i := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		g.Release(g.Admit(Peer{Addr: netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})}, epoch, false).Slot, epoch)
	}
}

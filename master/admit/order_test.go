package admit

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// In every order of events these hold. There are never more slots than the
// limit, and no slot is lost. Every count is exact. No penalty ends early.
// Whoever can continue is woken. The memory is limited, and at the end no
// source is left in it.
func TestGateKeepsItsCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := rapid.Custom(func(t *rapid.T) Policy {
			return Policy{
				MaxConnections: rapid.IntRange(1, 5).Draw(t, "limit"),
				Wait:           rapid.Bool().Draw(t, "wait"),
				V4Bits:         rapid.SampledFrom([]int{24, 32}).Draw(t, "bits"),
				V6Bits:         64,
				MaxSources:     rapid.IntRange(1, 4).Draw(t, "sources"),
				Rate:           Rate{time.Duration(rapid.IntRange(0, 2).Draw(t, "interval")) * time.Second, rapid.IntRange(1, 3).Draw(t, "burst")},
				Limits: Limits{
					MaxConnections: rapid.IntRange(0, 2).Draw(t, "limit per source"),
					Rate:           Rate{time.Duration(rapid.IntRange(0, 2).Draw(t, "interval per source")) * time.Second, rapid.IntRange(1, 3).Draw(t, "burst per source")},
				},
				Penalties: Penalties{First: time.Second, Max: 4 * time.Second, Growth: 2},
			}
		})
		current := policy.Draw(t, "policy")
		start := time.Now() // with a reading of the monotonic clock, by which a gate is carried
		g := NewGate(current, start, never)
		now := start
		reserved := 0
		held := map[*Slot]Peer{}
		penalties := map[Source]time.Time{}
		var waiting <-chan struct{}
		peer := rapid.Custom(func(t *rapid.T) Peer {
			n := rapid.IntRange(0, 7).Draw(t, "peer")
			if n == 7 {
				return Peer{UID: 5}
			}
			return Peer{Addr: netip.AddrFrom4([4]byte{192, 0, byte(n % 2), byte(n)})}
		})
		live := func(s Source) (n int) {
			for _, p := range held {
				if SourceOf(p, current.V4Bits, current.V6Bits) == s {
					n++
				}
			}
			return n
		}
		anyHeld := func(t *rapid.T) *Slot {
			var found *Slot
			want := peer.Draw(t, "holder")
			for s, p := range held {
				if p == want {
					found = s
				}
			}
			if found == nil {
				t.Skip("holds nothing")
			}
			return found
		}
		t.Repeat(map[string]func(*rapid.T){
			"reserve": func(t *rapid.T) {
				want := !current.Wait || len(held)+reserved < current.MaxConnections
				if got := g.Reserve(); got != want {
					t.Fatalf("Reserve() = %v with %d+%d of %d", got, reserved, len(held), current.MaxConnections)
				} else if got {
					reserved++
				}
			},
			"cancel": func(t *rapid.T) {
				if reserved == 0 {
					t.Skip("nothing reserved")
				}
				g.Cancel()
				reserved--
			},
			"admit": func(t *rapid.T) {
				withReservation := reserved > 0 && rapid.Bool().Draw(t, "with reservation")
				p := peer.Draw(t, "peer")
				d := g.Admit(p, now, withReservation)
				if withReservation {
					reserved--
				}
				source := SourceOf(p, current.V4Bits, current.V6Bits)
				before := live(source)
				switch d.Outcome {
				case Admitted:
					if until := penalties[source]; until.After(now) {
						t.Fatalf("admitted at %v with a penalty until %v", now, until)
					}
					if limit := current.Limits.MaxConnections; limit > 0 && before >= limit {
						t.Fatalf("admitted with %d of %d live", before, limit)
					}
					if len(held) >= current.MaxConnections {
						t.Fatalf("admitted with %d of %d held", len(held), current.MaxConnections)
					}
					held[d.Slot] = p
					if d.Live != before+1 {
						t.Fatalf("live %d, want %d", d.Live, before+1)
					}
				case Wait:
					if !current.Wait || len(held) < current.MaxConnections {
						t.Fatal("told to wait for no reason")
					}
				case Refused:
					switch d.Reason {
					case Penalized:
						if until := penalties[source]; !until.Equal(d.Until) || !until.After(now) {
							t.Fatalf("refused until %v for a penalty until %v", d.Until, until)
						}
					case MaxConnectionsPerSource:
						if before < current.Limits.MaxConnections {
							t.Fatalf("refused with %d of %d live", before, current.Limits.MaxConnections)
						}
					case MaxConnections:
						if current.Wait || len(held) < current.MaxConnections {
							t.Fatalf("refused with %d of %d held", len(held), current.MaxConnections)
						}
					case RatePerSource, RateOfService:
						if !d.Until.After(now) || d.Until.After(now.Add(10*time.Second)) {
							t.Fatalf("refused until %v at %v", d.Until, now)
						}
					default:
						t.Fatalf("refused: %v", d.Reason)
					}
				}
			},
			"end": func(t *rapid.T) {
				s := anyHeld(t)
				if rapid.Bool().Draw(t, "badly") {
					if p, ok := g.Penalize(s, now); ok {
						penalties[s.Source()] = p.Until
					} else if len(penalties) == 0 {
						t.Fatal("no room for the first penalty")
					}
				}
				g.Release(s, now)
				delete(held, s)
			},
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
			},
			"reload": func(t *rapid.T) {
				bits := current.V4Bits
				current = policy.Draw(t, "policy")
				g.SetPolicy(current, now)
				waiting = nil
				if bits == current.V4Bits {
					return
				}
				// TestPrefixLengthsChange tests what passes to the new sources.
				clear(penalties)
				for source, i := range g.sources.index {
					if st := g.sources.states[i]; st.until > 0 {
						penalties[source] = g.time(st.until)
					}
				}
			},
			"upgrade": func(t *rapid.T) {
				for ; reserved > 0; reserved-- { // nobody accepts then
					g.Cancel()
				}
				g, held = carryOver(t, g, held, now)
				waiting = nil
			},
			"wait": func(*rapid.T) {
				if waiting == nil {
					waiting = g.SlotFreed()
				}
			},
			"": func(t *rapid.T) {
				c := g.Counts()
				if c.Held != len(held) || c.Reserved != reserved {
					t.Fatalf("%+v, want %d held, %d reserved", c, len(held), reserved)
				}
				if waiting != nil && (!current.Wait || len(held)+reserved < current.MaxConnections) {
					select {
					case <-waiting:
						waiting = nil
					default:
						t.Fatal("a slot is free and the waiter was not woken")
					}
				}
				check(t, g, now)
			},
		})

		// After some time every penalty and bucket recovers by itself.
		for range reserved {
			g.Cancel()
		}
		for s := range held {
			g.Release(s, now)
		}
		now = now.Add(time.Hour)
		for n := range 20 {
			d := g.Admit(Peer{UID: uint32(1000 + n)}, now, false)
			if d.Outcome != Admitted {
				t.Fatalf("refused for %v after an hour of rest", d.Reason)
			}
			g.Release(d.Slot, now)
			now = now.Add(time.Hour)
		}
		if c := g.Counts(); c.Held != 0 || c.Reserved != 0 || c.Penalized != 0 || c.Sources > 1 {
			t.Fatalf("left behind: %+v", c)
		}
	})
}

// check checks the invariants of the table of sources.
func check(t *rapid.T, g *Gate, now time.Time) {
	table := g.sources
	total, penalized, listed := 0, 0, [lists]int{}
	for source, i := range table.index {
		st := table.states[i]
		if st.source != source || st.live < 0 {
			t.Fatalf("state of %v: %+v", source, st)
		}
		if (st.live > 0) != (st.list == listNone) {
			t.Fatalf("%v is in list %d with %d live", source, st.list, st.live)
		}
		if st.until > g.now(now) && !st.penalized {
			t.Fatalf("%v has a penalty that is not counted", source)
		}
		total += int(st.live)
		listed[st.list]++
		if st.penalized {
			penalized++
		}
	}
	if total != g.held || penalized != table.penalized {
		t.Fatalf("%d live of %d, %d penalized of %d", total, g.held, penalized, table.penalized)
	}
	for list := uint8(listIdle); list < lists; list++ {
		n := 0
		for i := table.head[list]; i != 0; i = table.states[i].next {
			n++
		}
		if n != listed[list] || n != table.length[list] {
			t.Fatalf("list %d has %d states, says %d, should have %d", list, n, table.length[list], listed[list])
		}
	}
	if len(table.index)+len(table.free) != max(len(table.states), 1)-1 {
		t.Fatalf("%d states used, %d free, %d in all", len(table.index), len(table.free), len(table.states))
	}
}

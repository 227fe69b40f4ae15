package admit

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestSourceOf(t *testing.T) {
	for _, c := range []struct {
		addr   string
		v4, v6 int
		want   string
	}{
		{"192.0.2.1", 32, 64, "192.0.2.1/32"},
		{"192.0.2.1", 24, 64, "192.0.2.0/24"},
		{"::ffff:192.0.2.1", 32, 64, "192.0.2.1/32"},
		{"2001:db8:1:2:3::4", 32, 64, "2001:db8:1:2::/64"},
		{"2001:db8:1:2:3::4", 32, 128, "2001:db8:1:2:3::4/128"},
		{"fe80::1%eth0", 32, 64, "fe80::/64"},
		{"192.0.2.1", 0, 0, "0.0.0.0/0"},
	} {
		if got := SourceOf(netip.MustParseAddr(c.addr), c.v4, c.v6).String(); got != c.want {
			t.Errorf("SourceOf(%s, %d, %d) = %s, want %s", c.addr, c.v4, c.v6, got, c.want)
		}
	}
	if got := (Source{}).String(); got != "unix" {
		t.Errorf("the zero source is %q", got)
	}
}

func TestFreed(t *testing.T) {
	g := NewGate(1)
	open := func() bool {
		select {
		case <-g.Freed():
			return true
		default:
			return false
		}
	}
	if !open() {
		t.Fatal("an unused gate is not free")
	}
	if !g.Reserve() || g.Reserve() {
		t.Fatal("a gate of one slot granted none or two")
	}
	waiting := g.Freed()
	if open() {
		t.Fatal("a full gate is free")
	}
	g.Cancel()
	<-waiting
	if !open() {
		t.Fatal("a gate is not free after Cancel")
	}
}

func TestReleaseOfWhatIsNotHeldPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewGate(1).Release(Source{})
}

// Whatever the order of events: never more slots than the limit, never a slot
// lost, counts by source exact, and a waiter is woken whenever a slot is free.
func TestGateKeepsItsCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		g := NewGate(limit)
		reserved := 0
		held := map[Source]int{}
		total := 0
		var waiting <-chan struct{}
		source := rapid.Custom(func(t *rapid.T) Source {
			return SourceOf(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "host") % 3}), 32, 64)
		})
		t.Repeat(map[string]func(*rapid.T){
			"reserve": func(t *rapid.T) {
				if got, want := g.Reserve(), reserved+total < limit; got != want {
					t.Fatalf("Reserve() = %v with %d+%d of %d taken", got, reserved, total, limit)
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
			"hold": func(t *rapid.T) {
				if reserved == 0 {
					t.Skip("nothing reserved")
				}
				s := source.Draw(t, "source")
				reserved--
				total++
				held[s]++
				if live := g.Hold(s); live != held[s] {
					t.Fatalf("Hold(%v) = %d, want %d", s, live, held[s])
				}
			},
			"release": func(t *rapid.T) {
				s := source.Draw(t, "source")
				if held[s] == 0 {
					t.Skip("nothing held")
				}
				g.Release(s)
				held[s]--
				total--
			},
			"wait": func(*rapid.T) {
				if waiting == nil {
					waiting = g.Freed()
				}
			},
			"": func(t *rapid.T) {
				if taken, l := g.Taken(); taken != reserved+total || l != limit {
					t.Fatalf("Taken() = %d of %d, want %d of %d", taken, l, reserved+total, limit)
				}
				if waiting != nil && reserved+total < limit {
					select {
					case <-waiting:
						waiting = nil
					default:
						t.Fatal("a slot is free and the waiter was not woken")
					}
				}
				for s, n := range g.sources {
					if n == 0 || n != held[s] {
						t.Fatalf("source %v: %d, want %d", s, n, held[s])
					}
				}
			},
		})
	})
}

func BenchmarkGate(b *testing.B) {
	g := NewGate(1 << 20)
	source := SourceOf(netip.MustParseAddr("192.0.2.1"), 32, 64)
	b.ReportAllocs()
	for b.Loop() {
		g.Reserve()
		g.Hold(source)
		g.Release(source)
	}
}

package admit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ip(s string) Peer { return Peer{Addr: netip.MustParseAddr(s)} }

func never() float64 { return 0.999999 }

func open(limit int) Policy {
	return Policy{MaxConnections: limit, Wait: true, V4Bits: 32, V6Bits: 64, MaxSources: 1000}
}

func TestSourceOf(t *testing.T) {
	for _, c := range []struct {
		peer   Peer
		v4, v6 int
		want   string
	}{
		{ip("192.0.2.1"), 32, 64, "192.0.2.1/32"},
		{ip("192.0.2.1"), 24, 64, "192.0.2.0/24"},
		{ip("::ffff:192.0.2.1"), 32, 64, "192.0.2.1/32"},
		{ip("2001:db8:1:2:3::4"), 32, 64, "2001:db8:1:2::/64"},
		{ip("2001:db8:1:2:3::4"), 32, 128, "2001:db8:1:2:3::4/128"},
		{ip("fe80::1%eth0"), 32, 64, "fe80::/64"},
		{ip("192.0.2.1"), 0, 0, "0.0.0.0/0"},
		{ip("::"), 0, 0, "::/0"},
		{Peer{UID: 1000, GID: 100}, 32, 64, "unix:uid=1000"},
	} {
		if got := SourceOf(c.peer, c.v4, c.v6).String(); got != c.want {
			t.Errorf("SourceOf(%v, %d, %d) = %s, want %s", c.peer, c.v4, c.v6, got, c.want)
		}
	}
	if SourceOf(ip("0.0.0.0"), 32, 64) == SourceOf(Peer{}, 32, 64) || SourceOf(ip("::"), 0, 0) == SourceOf(ip("0.0.0.0"), 0, 0) {
		t.Error("different sources are equal")
	}
}

// A step starts or ends a connection, at a given time.
type step struct {
	at      time.Duration
	from    string // a peer that asks
	end     int    // or the number, from 1, of the admitted connection that ends
	bad     bool   // badly
	want    string // "" for admitted, "wait", or the reason of the refusal
	recover time.Duration
}

func TestDecisions(t *testing.T) {
	rules := func(build func(*Rules)) *Rules { r := &Rules{}; build(r); return r }
	prefix := func(s string) Match { return Match{Prefix: netip.MustParsePrefix(s)} }
	uid := func(n uint32) Match { return Match{UID: &n} }
	gid := func(n uint32) Match { return Match{GID: &n} }
	second := Rate{Interval: time.Second, Burst: 2}
	with := func(p Policy, change func(*Policy)) Policy { change(&p); return p }
	for name, c := range map[string]struct {
		policy Policy
		steps  []step
	}{
		"cap, refusing": {with(open(2), func(p *Policy) { p.Wait = false }), []step{
			{from: "192.0.2.1"}, {from: "192.0.2.2"}, {from: "192.0.2.3", want: "max-connections"},
			{end: 1}, {from: "192.0.2.3"},
		}},
		"cap, waiting": {open(1), []step{{from: "192.0.2.1"}, {from: "192.0.2.2", want: "wait"}, {end: 1}, {from: "192.0.2.2"}}},
		"cap per source": {with(open(9), func(p *Policy) { p.Limits.MaxConnections = 1 }), []step{
			{from: "2001:db8::1"}, {from: "2001:db8::2", want: "max-connections-per-source"}, {from: "2001:db8:0:1::1"},
			{end: 1}, {from: "2001:db8::2"},
			{from: "192.0.2.1"}, {from: "::ffff:192.0.2.1", want: "max-connections-per-source"}, {from: "192.0.2.2"},
		}},
		"rate per source": {with(open(9), func(p *Policy) { p.Limits.Rate = second }), []step{
			{from: "192.0.2.1"}, {from: "192.0.2.1"}, {from: "192.0.2.1", want: "rate-per-source", recover: time.Second},
			{from: "192.0.2.2"},
			{at: 999 * time.Millisecond, from: "192.0.2.1", want: "rate-per-source", recover: time.Second},
			{at: time.Second, from: "192.0.2.1"}, {at: time.Second, from: "192.0.2.1", want: "rate-per-source", recover: 2 * time.Second},
			{at: time.Hour, from: "192.0.2.1"}, {at: time.Hour, from: "192.0.2.1"}, {at: time.Hour, from: "192.0.2.1", want: "rate-per-source", recover: time.Hour + time.Second},
		}},
		"rate": {with(open(9), func(p *Policy) { p.Rate = second }), []step{
			{from: "192.0.2.1"}, {from: "192.0.2.2"}, {from: "192.0.2.3", want: "rate", recover: time.Second},
			{at: time.Second, from: "192.0.2.3"},
		}},
		"deny wins on equal": {with(open(9), func(p *Policy) {
			p.Rules = rules(func(r *Rules) { r.Deny(prefix("192.0.2.0/24"), ""); r.Allow(prefix("192.0.2.0/24"), "") })
		}), []step{{from: "192.0.2.1", want: "denied"}, {from: "192.0.3.1", want: "denied"}}},
		"deny wins on equal, the other way round": {with(open(9), func(p *Policy) {
			p.Rules = rules(func(r *Rules) {
				r.Add(prefix("192.0.2.0/24"), &Rule{})
				r.Allow(prefix("192.0.2.0/24"), "")
				r.Deny(prefix("192.0.2.0/24"), "")
			})
		}), []step{{from: "192.0.2.1", want: "denied"}}},
		"the longest prefix": {with(open(9), func(p *Policy) {
			p.Rules = rules(func(r *Rules) {
				r.Deny(prefix("192.0.0.0/16"), "")
				r.Allow(prefix("192.0.2.0/24"), "")
				r.Deny(prefix("192.0.2.7/32"), "")
			})
		}), []step{
			{from: "192.0.1.1", want: "denied"}, {from: "192.0.2.1"}, {from: "::ffff:192.0.2.1"}, {from: "192.0.2.7", want: "denied"},
			{from: "198.51.100.1", want: "denied"}, {from: "::1", want: "denied"},
		}},
		"only deny": {with(open(9), func(p *Policy) {
			p.Rules = rules(func(r *Rules) { r.Deny(prefix("fd00::/8"), ""); r.Add(prefix("::/0"), &Rule{}) })
		}), []step{{from: "fd00::1", want: "denied"}, {from: "::1"}, {from: "192.0.2.1"}, {from: "uid 5"}}},
		"unix peers": {with(open(9), func(p *Policy) {
			p.Rules = rules(func(r *Rules) {
				r.Allow(Match{}, "")
				r.Deny(gid(100), "")
				r.Allow(uid(5), "")
				r.Deny(uid(6), "")
			})
		}), []step{{from: "uid 5"}, {from: "uid 6", want: "denied"}, {from: "uid 7", want: "denied"}, {from: "uid 8 of 200"}, {from: "192.0.2.1", want: "denied"}}},
		"limits of a rule": {with(open(9), func(p *Policy) {
			p.Limits.MaxConnections = 1
			p.Rules = rules(func(r *Rules) { r.Add(prefix("10.0.0.0/8"), &Rule{Limits: &Limits{MaxConnections: 2}}) })
		}), []step{
			{from: "10.0.0.1"}, {from: "10.0.0.1"}, {from: "10.0.0.1", want: "max-connections-per-source"},
			{from: "192.0.2.1"}, {from: "192.0.2.1", want: "max-connections-per-source"},
		}},
		"penalties grow and end": {with(open(9), func(p *Policy) {
			p.Penalties = Penalties{First: time.Second, Max: 3 * time.Second, Growth: 2}
		}), []step{
			{from: "192.0.2.1"}, {end: 1, bad: true},
			{from: "192.0.2.1", want: "penalty", recover: time.Second}, {from: "192.0.2.2"},
			{at: time.Second, from: "192.0.2.1"}, {at: time.Second, end: 3, bad: true},
			{at: 2 * time.Second, from: "192.0.2.1", want: "penalty", recover: 3 * time.Second},
			{at: 3 * time.Second, from: "192.0.2.1"}, {at: 3 * time.Second, end: 4, bad: true},
			{at: 4 * time.Second, from: "192.0.2.1", want: "penalty", recover: 6 * time.Second},
			{at: 9 * time.Second, from: "192.0.2.1"}, {at: 9 * time.Second, end: 5, bad: true}, // good for long enough
			{at: 9 * time.Second, from: "192.0.2.1", want: "penalty", recover: 10 * time.Second},
		}},
		"one crash is one offence": {with(open(9), func(p *Policy) {
			p.Penalties = Penalties{First: time.Second, Max: time.Hour, Growth: 10}
		}), []step{
			{from: "192.0.2.1"}, {from: "192.0.2.1"}, {from: "192.0.2.1"}, {end: 1, bad: true}, {end: 2, bad: true}, {at: time.Second / 2, end: 3, bad: true},
			{at: time.Second / 2, from: "192.0.2.1", want: "penalty", recover: 3 * time.Second / 2},
		}},
		"exempt": {with(open(9), func(p *Policy) {
			p.Penalties = Penalties{First: time.Second, Max: time.Hour, Growth: 10, Exempt: &Peers[struct{}]{}}
			p.Penalties.Exempt.Put(prefix("192.0.2.0/24"), struct{}{})
		}), []step{{from: "192.0.2.1"}, {end: 1, bad: true}, {from: "192.0.2.1"}, {from: "198.51.100.1"}, {end: 3, bad: true}, {from: "198.51.100.1", want: "penalty", recover: time.Second}}},
		"dry run": {with(open(9), func(p *Policy) {
			p.Penalties = Penalties{First: time.Second, Max: time.Hour, Growth: 10, DryRun: true}
		}), []step{{from: "192.0.2.1"}, {end: 1, bad: true}, {from: "192.0.2.1", recover: time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGate(c.policy, epoch, never)
			var admitted []*Slot
			for i, s := range c.steps {
				now := epoch.Add(s.at)
				if s.end > 0 {
					if s.bad {
						g.Penalize(admitted[s.end-1], now)
					}
					g.Release(admitted[s.end-1], now)
					continue
				}
				var peer Peer
				if n, _ := fmt.Sscanf(s.from, "uid %d of %d", &peer.UID, &peer.GID); n == 1 {
					peer.GID = 100
				} else if n == 0 {
					peer = ip(s.from)
				}
				explained := g.Explain(peer, now)
				d := g.Admit(peer, now, false)
				got := ""
				switch d.Outcome {
				case Refused:
					got = d.Reason.String()
				case Wait:
					got = "wait"
				default:
					admitted = append(admitted, d.Slot)
				}
				if got != s.want {
					t.Fatalf("step %d, %+v: %q, want %q", i+1, s, got, s.want)
				}
				if want := epoch.Add(s.recover); s.recover > 0 && !d.Until.Equal(want) {
					t.Errorf("step %d: until %v, want %v", i+1, d.Until, want)
				}
				if explained.Outcome != d.Outcome || explained.Reason != d.Reason || !explained.Until.Equal(d.Until) {
					t.Errorf("step %d: explained as %+v, was %+v", i+1, explained, d)
				}
				if d.Spared != (name == "dry run" && i == 2) {
					t.Errorf("step %d: spared: %v", i+1, d.Spared)
				}
			}
		})
	}
}

func TestDrop(t *testing.T) {
	d := Drop{Start: 10, Percent: 30, Full: 20}
	for live, want := range map[int]float64{0: 0, 9: 0, 10: 0.3, 15: 0.65, 20: 1, 21: 1} {
		if got := d.probability(live); got != want {
			t.Errorf("chance with %d live: %v, want %v", live, got, want)
		}
	}
	if got := (Drop{}).probability(1000); got != 0 {
		t.Errorf("no drop: %v", got)
	}
	if got := (Drop{5, 10, 5}).probability(5); got != 1 {
		t.Errorf("drop without a slope: %v", got)
	}
	p := open(100)
	p.Drop = Drop{1, 30, 10}
	dice := 0.29
	g := NewGate(p, epoch, func() float64 { return dice })
	if d := g.Admit(ip("192.0.2.1"), epoch, false); d.Outcome != Admitted {
		t.Fatalf("%+v", d)
	}
	if d := g.Admit(ip("192.0.2.1"), epoch, false); d.Outcome != Refused || d.Reason != EarlyDrop {
		t.Errorf("%+v", d)
	}
	if d := g.Explain(ip("192.0.2.1"), epoch); d.Outcome != Admitted || d.EarlyDrop != 0.3 {
		t.Errorf("%+v", d)
	}
	dice = 0.31
	if d := g.Admit(ip("192.0.2.1"), epoch, false); d.Outcome != Admitted {
		t.Errorf("%+v", d)
	}
}

func TestPenaltyLength(t *testing.T) {
	p := Penalties{First: 10 * time.Second, Max: 10 * time.Minute, Growth: 2}
	for level, want := range map[uint8]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 6: 320 * time.Second, 7: 10 * time.Minute, 100: 10 * time.Minute} {
		if got := p.length(level); got != want {
			t.Errorf("level %d: %v, want %v", level, got, want)
		}
	}
	if got := (Penalties{First: time.Second, Max: 1<<63 - 1, Growth: 100}).length(maxLevel); got != 1<<63-1 {
		t.Errorf("overflow: %v", got)
	}
}

func TestFreed(t *testing.T) {
	g := NewGate(open(1), epoch, never)
	isFree := func() bool {
		select {
		case <-g.Freed():
			return true
		default:
			return false
		}
	}
	if !isFree() {
		t.Fatal("an unused gate is not free")
	}
	if !g.Reserve() || g.Reserve() {
		t.Fatal("a gate of one slot granted none or two")
	}
	waiting := g.Freed()
	if isFree() {
		t.Fatal("a full gate is free")
	}
	g.Cancel()
	<-waiting
	if !isFree() {
		t.Fatal("a gate is not free after Cancel")
	}
	g.Reserve()
	waiting = g.Freed()
	g.SetPolicy(open(2), epoch)
	<-waiting
	if !g.Reserve() {
		t.Error("a raised limit has no effect")
	}
	waiting = g.Freed()
	p := open(2)
	p.Rules = &Rules{denyOthers: true}
	g.SetPolicy(p, epoch)
	<-waiting
	waiting = g.Freed()
	if d := g.Admit(ip("::1"), epoch, true); d.Outcome != Refused {
		t.Fatalf("%+v", d)
	}
	<-waiting // a refused connection's reservation is free again
}

// A connection waits if the limit was lowered after its reservation.
func TestLoweredLimit(t *testing.T) {
	g := NewGate(open(2), epoch, never)
	first := g.Admit(ip("::1"), epoch, false)
	g.Reserve()
	g.SetPolicy(open(1), epoch)
	if d := g.Admit(ip("::1"), epoch, true); d.Outcome != Wait {
		t.Fatalf("%+v", d)
	}
	if c := g.Counts(); c.Held != 1 || c.Reserved != 0 {
		t.Fatalf("%+v", c)
	}
	waiting := g.Freed()
	g.Release(first.Slot, epoch)
	<-waiting
	if d := g.Admit(ip("::1"), epoch, false); d.Outcome != Admitted {
		t.Fatalf("%+v", d)
	}
}

func TestPrefixLengthsChange(t *testing.T) {
	p := open(9)
	p.Limits.MaxConnections = 2
	p.Penalties = Penalties{First: time.Hour, Max: time.Hour, Growth: 1}
	g := NewGate(p, epoch, never)
	a := g.Admit(ip("192.0.2.1"), epoch, false)
	b := g.Admit(ip("192.0.2.2"), epoch, false)
	bad := g.Admit(ip("198.51.100.1"), epoch, false)
	g.Penalize(bad.Slot, epoch)
	g.Release(bad.Slot, epoch)
	p.V4Bits = 24
	g.SetPolicy(p, epoch)
	if d := g.Admit(ip("192.0.2.3"), epoch, false); d.Reason != MaxConnectionsPerSource || d.Outcome != Refused {
		t.Errorf("live connections are not counted by the new sources: %+v", d)
	}
	if d := g.Admit(ip("198.51.100.2"), epoch, false); d.Reason != Penalized || d.Outcome != Refused {
		t.Errorf("a penalty is forgotten: %+v", d)
	}
	g.Release(a.Slot, epoch)
	if d := g.Admit(ip("192.0.2.3"), epoch, false); d.Outcome != Admitted || d.Live != 2 {
		t.Errorf("%+v", d)
	} else {
		g.Release(d.Slot, epoch)
	}
	p.V4Bits = 32
	g.SetPolicy(p, epoch)
	g.Release(b.Slot, epoch)
	if c := g.Counts(); c.Held != 0 || c.Penalized != 0 || c.Sources != 0 {
		t.Errorf("%+v", c)
	}
}

// An attack from millions of addresses takes no more memory than the policy
// allows. Live connections stay counted, and penalties stay in force.
func TestMemoryIsBounded(t *testing.T) {
	p := open(10)
	p.MaxSources = 100
	p.Limits.Rate = Rate{Interval: time.Hour, Burst: 1}
	p.Penalties = Penalties{First: time.Hour, Max: time.Hour, Growth: 1}
	g := NewGate(p, epoch, never)
	address := func(i int) Peer {
		return Peer{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
	}
	live := g.Admit(ip("192.0.2.1"), epoch, false)
	bad := g.Admit(ip("192.0.2.2"), epoch, false)
	g.Penalize(bad.Slot, epoch)
	g.Release(bad.Slot, epoch)
	for i := range 10_000 {
		d := g.Admit(address(i), epoch, false)
		if d.Outcome != Admitted {
			t.Fatalf("%d: %+v", i, d)
		}
		if i%2 == 0 {
			g.Penalize(d.Slot, epoch)
		}
		g.Release(d.Slot, epoch)
		if c := g.Counts(); c.Sources > 101 || len(g.sources.states) > 120 {
			t.Fatalf("%d sources and %d states after %d", c.Sources, len(g.sources.states), i)
		}
	}
	if d := g.Admit(ip("192.0.2.2"), epoch, false); d.Reason != Penalized {
		t.Errorf("a penalty was forgotten: %+v", d)
	}
	if d := g.Explain(ip("192.0.2.1"), epoch); d.Live != 2 {
		t.Errorf("a live count was forgotten: %+v", d)
	}
	if c := g.Counts(); c.LostPenalties == 0 || c.Penalized != 100 {
		t.Errorf("%+v", c)
	}
	g.Release(live.Slot, epoch)
	// When the penalties have ended there is room again.
	later := epoch.Add(3 * time.Hour)
	for i := range 200 {
		d := g.Admit(address(1<<20+i), later, false)
		g.Release(d.Slot, later)
	}
	d := g.Admit(ip("192.0.2.9"), later, false)
	if _, ok := g.Penalize(d.Slot, later); !ok {
		t.Error("no room for a penalty although all have passed")
	}
	g.Release(d.Slot, later)
}

func TestReleaseOfWhatIsNotHeldPanics(t *testing.T) {
	g := NewGate(open(1), epoch, never)
	d := g.Admit(ip("::1"), epoch, false)
	g.Release(d.Slot, epoch)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	g.Release(d.Slot, epoch)
}

func TestRefusals(t *testing.T) {
	var l Refusals
	logged := 0
	for range 1000 {
		if suppressed, log := l.Note(Denied, epoch); log {
			logged++
			if suppressed != 0 {
				t.Errorf("suppressed %d before the first", suppressed)
			}
		}
	}
	if logged != refusalRate.Burst {
		t.Errorf("logged %d", logged)
	}
	if _, log := l.Note(RatePerSource, epoch); !log {
		t.Error("another reason is suppressed as well")
	}
	if rest := l.Rest(epoch); len(rest) > 0 {
		t.Errorf("rest at once: %v", rest)
	}
	later := epoch.Add(refusalRate.Interval)
	if suppressed, log := l.Note(Denied, later); !log || suppressed != 995 {
		t.Errorf("later: %d, %v", suppressed, log)
	}
	l.Note(Denied, later)
	if rest := l.Rest(later.Add(time.Minute)); len(rest) != 1 || rest[Denied] != 1 {
		t.Errorf("rest: %v", rest)
	}
	if rest := l.Rest(later.Add(time.Hour)); len(rest) > 0 {
		t.Errorf("rest again: %v", rest)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reasons {
		if name := r.String(); name == "" || seen[name] {
			t.Errorf("reason %d is named %q", r, name)
		}
		seen[r.String()] = true
	}
}

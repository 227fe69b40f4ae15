package admit

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/master/carry"
)

// carried returns a state as the next master reads it.
func carried[S any](t rapid.TB, s S) (again S, text string) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	return again, string(b)
}

// carryOver makes a gate and its slots again from their states, and checks that these
// are the same states.
func carryOver(t rapid.TB, g *Gate, held map[*Slot]Peer, now time.Time) (*Gate, map[*Slot]Peer) {
	t.Helper()
	state, text := carried(t, g.Export())
	again, err := RestoreGate(&state, g.policy, now, g.random)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	slots := map[*Slot]Peer{}
	for s, peer := range held {
		if err := again.CheckRestored(&state); err == nil {
			t.Fatalf("%d of %d slots have come back, and it is fine", len(slots), len(held))
		}
		slot, _ := carried(t, s.Export())
		restored, err := again.RestoreSlot(slot)
		if err != nil {
			t.Fatal(err)
		}
		if restored.peer != s.peer || restored.source != s.source {
			t.Fatalf("the slot of %v is that of %v", s.peer, restored.peer)
		}
		slots[restored] = peer
	}
	if err := again.CheckRestored(&state); err != nil {
		t.Fatal(err)
	}
	if _, twice := carried(t, again.Export()); twice != text {
		t.Fatalf("%s\nhas become\n%s", text, twice)
	}
	if diff := cmp.Diff(g.Counts(), again.Counts()); diff != "" {
		t.Fatal(diff)
	}
	return again, slots
}

// Sources of every kind come over, and whoever is refused stays refused until then.
func TestCarriedGateRefusesTheSame(t *testing.T) {
	start := time.Now()
	policy := open(1000)
	policy.V4Bits, policy.V6Bits, policy.MaxSources = 24, 64, 100
	policy.Limits = Limits{MaxConnections: 2, Rate: Rate{time.Minute, 3}}
	policy.Rate = Rate{time.Second, 50}
	policy.Penalties = Penalties{First: time.Minute, Max: time.Hour, Growth: 3}
	g := NewGate(policy, start, never)
	now := start.Add(3 * time.Second)
	held := map[*Slot]Peer{}
	penalized := map[Source]time.Time{}
	peers := []Peer{
		ip("192.0.2.1"), ip("192.0.2.200"), ip("198.51.100.7"), ip("::ffff:203.0.113.9"), ip("2001:db8::1"), ip("fe80::1%lo"), ip("::1"),
		{UID: 0, GID: 7}, {UID: math.MaxUint32 - 1},
	}
	for _, p := range peers {
		for n := range 2 {
			d := g.Admit(p, now, false)
			if d.Outcome != Admitted {
				continue // the second one of 192.0.2.0/24 fills its limit
			}
			if n == 0 {
				held[d.Slot] = p
				continue
			}
			if penalty, ok := g.Penalize(d.Slot, now); !ok {
				t.Fatal("no room for a penalty")
			} else {
				penalized[d.Slot.Source()] = penalty.Until
			}
			g.Release(d.Slot, now)
		}
	}
	g.Refuse(ProxyTimeout)
	now = now.Add(time.Second)
	again, _ := carryOver(t, g, held, now)
	for _, p := range append(peers, ip("192.0.2.9"), ip("2001:db8::2"), ip("9.9.9.9"), Peer{UID: 1}) {
		for _, at := range []time.Time{now, now.Add(70 * time.Second), now.Add(time.Hour)} {
			before, after := g.Explain(p, at), again.Explain(p, at)
			if !before.Until.Equal(after.Until) {
				t.Errorf("%v until %v, and was until %v", p, after.Until, before.Until)
			}
			before.Until, after.Until = time.Time{}, time.Time{}
			if before != after {
				t.Errorf("%v at %v: %+v has become %+v", p, at, before, after)
			}
			if until := penalized[before.Source]; until.After(at) && after.Reason != Penalized {
				t.Errorf("%v is %v at %v, and has a penalty until %v", p, after.Reason, at, until)
			}
		}
	}
}

func TestGatesThatMakeNoSense(t *testing.T) {
	now := time.Now()
	start := carry.At(now.Add(-time.Hour))
	v4 := []byte{sourcesLayout, 1, packedIdle, packedV4, 32, 192, 0, 2, 1, 1, 5, 0}
	for name, s := range map[string]GateState{
		"never":          {},
		"later":          {Start: carry.At(now.Add(time.Hour))},
		"bucket":         {Start: start, Bucket: -1},
		"slots":          {Start: start, Held: -1},
		"reason":         {Start: start, Refused: map[string]uint64{"whim": 1}},
		"layout":         {Start: start, Sources: []byte{sourcesLayout + 1}},
		"cut off":        {Start: start, Sources: v4[:len(v4)-1]},
		"twice":          {Start: start, Sources: append(append([]byte{sourcesLayout, 2}, v4[2:]...), v4[2:]...)},
		"too many":       {Start: start, Sources: append([]byte{sourcesLayout, 0xff, 0xff, 3}, v4[2:]...)},
		"more":           {Start: start, Sources: append(bytes.Clone(v4), v4[2:]...)},
		"standing":       {Start: start, Sources: []byte{sourcesLayout, 1, packedStandings, packedUnix, 0, 0, 0, 0, 0, 0, 0}},
		"kind":           {Start: start, Sources: []byte{sourcesLayout, 1, 0, packedV6 + 1, 0, 0, 0, 0, 0, 0, 0}},
		"bits":           {Start: start, Sources: []byte{sourcesLayout, 1, 0, packedV4, 33, 0, 0, 0, 0, 0, 0, 0}},
		"level":          {Start: start, Sources: []byte{sourcesLayout, 1, 0, packedUnix, 0, 0, 0, 0, maxLevel + 1, 0, 0}},
		"a time too far": {Start: start, Sources: binary.AppendUvarint([]byte{sourcesLayout, 1, 0, packedUnix, 0, 0, 0, 0, 0, 0}, math.MaxUint64)},
	} {
		if _, err := RestoreGate(&s, open(1), now, never); err == nil {
			t.Errorf("%s: %+v was taken", name, s)
		}
	}
	g, err := RestoreGate(&GateState{Start: start, Held: 1, Sources: v4}, open(1), now, never)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []SlotState{{Addr: "somewhere"}, {Addr: "192.0.2.1"}, {Addr: "192.0.2.2"}, {UID: 1}} {
		if _, err := g.RestoreSlot(&s); err == nil {
			t.Errorf("slot %+v has come back, and nobody held it", s)
		}
	}
}

func TestReleasedSlotIsNotCarried(t *testing.T) {
	g := NewGate(open(1), epoch, never)
	slot := g.Admit(ip("192.0.2.1"), epoch, false).Slot
	g.Release(slot, epoch)
	if s := slot.Export(); s != nil {
		t.Errorf("%+v", s)
	}
	if s := (*Slot)(nil).Export(); s != nil {
		t.Errorf("no slot is %+v", s)
	}
}

func TestCarriedRefusalsSuppressTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		var l Refusals
		event := func(t *rapid.T, ls ...*Refusals) {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "after")))
			reason := Reason(rapid.IntRange(0, int(Reasons)-1).Draw(t, "reason"))
			rest := rapid.Bool().Draw(t, "rest")
			var seen []any
			for _, l := range ls {
				if rest {
					seen = append(seen, l.Rest(now), l.Pending())
				} else {
					n, log := l.Note(reason, now)
					seen = append(seen, n, log)
				}
			}
			for i := range len(seen) - 2 {
				if !cmp.Equal(seen[i], seen[i+2]) {
					t.Fatalf("%v", seen)
				}
			}
		}
		for range rapid.IntRange(0, 50).Draw(t, "before") {
			event(t, &l)
		}
		state, text := carried(t, l.Export())
		var again Refusals
		if err := again.Restore(&state); err != nil {
			t.Fatal(err)
		}
		if _, twice := carried(t, again.Export()); twice != text {
			t.Fatalf("%s\nhas become\n%s", text, twice)
		}
		for range 30 {
			event(t, &l, &again)
		}
	})
}

func TestCarriedCongestionTellsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		var c Congestion
		event := func(t *rapid.T) bool {
			now = now.Add(time.Duration(rapid.Int64Range(1, int64(40*time.Second)).Draw(t, "after")))
			return rapid.Bool().Draw(t, "congested")
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			c.Observe(event(t), now)
		}
		state, text := carried(t, c.Export())
		var again Congestion
		if err := again.Restore(&state); err != nil {
			t.Fatal(err)
		}
		if _, twice := carried(t, again.Export()); twice != text {
			t.Fatalf("%s\nhas become\n%s", text, twice)
		}
		for range 20 {
			congested := event(t)
			if a, b := c.Observe(congested, now), again.Observe(congested, now); a != b {
				t.Fatalf("%+v, and was %+v", b, a)
			}
			sinceA, totalA := c.State(now)
			sinceB, totalB := again.State(now)
			if !sinceA.Equal(sinceB) || totalA != totalB || c.Settled() != again.Settled() {
				t.Fatalf("since %v for %v, and was since %v for %v", sinceB, totalB, sinceA, totalA)
			}
		}
	})
}

func TestRefusalsThatMakeNoSense(t *testing.T) {
	now := carry.At(time.Now())
	for name, s := range map[string]RefusalsState{
		"reason": {Start: now, Reasons: []ReasonRefusal{{Reason: "whim"}}},
		"never":  {Reasons: []ReasonRefusal{{Reason: "rate", Bucket: 1}}},
		"bucket": {Start: now, Reasons: []ReasonRefusal{{Reason: "rate", Bucket: -1}}},
		"first":  {Start: now, Reasons: []ReasonRefusal{{Reason: "rate", First: -1}}},
		"twice":  {Start: now, Reasons: []ReasonRefusal{{Reason: "rate", Bucket: 1}, {Reason: "rate", Bucket: 1}}},
	} {
		if err := new(Refusals).Restore(&s); err == nil {
			t.Errorf("%s: %+v was taken", name, s)
		}
	}
	for name, s := range map[string]CongestionState{"over": {Over: -1}, "telling": {Telling: true}} {
		if err := new(Congestion).Restore(&s); err == nil {
			t.Errorf("%s: %+v was taken", name, s)
		}
	}
}

// Whatever bytes come, there is an error or a table that holds together, and what it
// exports is what it came from.
func FuzzPackedSources(f *testing.F) {
	f.Add([]byte{sourcesLayout, 1, packedIdle, packedV4, 32, 192, 0, 2, 1, 1, 5, 0})
	f.Add([]byte{sourcesLayout, 2, packedPenalized, packedUnix, 0, 0, 0, 0, 3, 5, 9, packedLive, packedUnix, 0, 0, 0, 1, 0, 0, 0})
	v6 := netip.MustParseAddr("2001:db8:1:2::").As16()
	f.Add(append(append([]byte{sourcesLayout, 1, packedLivePenalized, packedV6, 64}, v6[:]...), 2, 0x80, 1, 7))
	f.Fuzz(func(t *testing.T, packed []byte) {
		var table sources
		if err := table.restore(packed); err != nil {
			return
		}
		again := table.export()
		if len(again) > len(packed) {
			t.Fatalf("%d bytes have become %d", len(packed), len(again))
		}
		var twice sources
		if err := twice.restore(again); err != nil || !bytes.Equal(twice.export(), again) {
			t.Fatalf("%v: %x has become %x", err, again, twice.export())
		}
		for _, st := range twice.states[min(1, len(twice.states)):] {
			_ = st.source.String()
		}
		for len(twice.index) > 0 && twice.head[listIdle] != 0 {
			twice.remove(twice.head[listIdle])
		}
		if twice.length[listIdle] != 0 {
			t.Fatalf("%d idle sources are left", twice.length[listIdle])
		}
	})
}

// A million sources have to go over while nobody is accepted.
func BenchmarkCarryMillionSources(b *testing.B) {
	policy := open(1)
	policy.MaxSources = 1 << 20
	g := NewGate(policy, time.Now(), never)
	for n := range uint32(1_000_000) {
		i := g.sources.add(SourceOf(Peer{Addr: netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n<<4)))}, 32, 64))
		g.sources.states[i].bucket = bucket(time.Hour + time.Duration(n))
		g.sources.move(i, listIdle)
	}
	var state GateState
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			state = g.Export()
		}
		b.ReportMetric(float64(len(state.Sources))/1e6, "bytes/source")
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if _, err := RestoreGate(&state, policy, time.Now(), never); err != nil {
				b.Fatal(err)
			}
		}
	})
}

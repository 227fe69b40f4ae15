package result

import (
	"slices"
	"strings"
	"testing"
)

var atMostOne = []Target{{ID: "T", Scenario: "closed1", Metric: LatencyP50, Server: "a", Peer: "b", Want: 1}}

// withRatio returns a record in which a's latency is ratio times b's,
// whatever the machine's speed in a round was.
func withRatio(ratio float64) *Record {
	r := &Record{}
	for round, speed := range []float64{1, 5, 2} {
		for name, v := range map[string]float64{"a": ratio, "b": 1} {
			r.Measurements = append(r.Measurements, Measurement{
				Scenario: "closed1", Server: name, Round: round,
				Values: map[Metric]float64{LatencyP50: v * speed},
			})
		}
	}
	return r
}

func TestEvaluateAndCheck(t *testing.T) {
	for name, c := range map[string]struct {
		ratio float64
		met   bool
	}{
		"met":           {0.5, true},
		"just met":      {1, true},
		"missed":        {1.01, false},
		"missed by far": {9, false},
	} {
		got := Evaluate(withRatio(c.ratio), atMostOne)
		if e := got[0]; !e.Measured || e.Met != c.met || e.Reached.Median != c.ratio {
			t.Errorf("%s: %+v", name, e)
		}
		if err := Check(got); (err == nil) != c.met {
			t.Errorf("%s: check: %v", name, err)
		}
	}
	atLeast := slices.Clone(atMostOne)
	atLeast[0].AtLeast = true
	if err := Check(Evaluate(withRatio(0.9), atLeast)); err == nil {
		t.Error("0.9 passed for at least 1")
	}
}

func TestCheckOfNothingFails(t *testing.T) {
	if err := Check(Evaluate(&Record{}, atMostOne)); err == nil || !strings.Contains(err.Error(), "not measured") {
		t.Errorf("a record without measurements: %v", err)
	}
	if err := Check(nil); err == nil {
		t.Error("a check without targets passed")
	}
}

// Fast connections are no success of a server that loses others.
func TestCheckOfAServerThatFailsFails(t *testing.T) {
	for name, failed := range map[string]Measurement{
		"connections": {Scenario: "closed1", Server: "a", Round: 1, Errors: map[string]int{"ECONNRESET": 900}},
		"a round":     {Scenario: "closed1", Server: "a", Round: 3, Problem: "start: it ended by itself"},
	} {
		r := withRatio(0.5)
		r.Measurements = append(r.Measurements, failed)
		if err := Check(Evaluate(r, atMostOne)); err == nil || !strings.Contains(err.Error(), "a failed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := withRatio(0.5)
	r.Measurements = append(r.Measurements, Measurement{Scenario: "closed1", Server: "b", Errors: map[string]int{"ECONNRESET": 1}})
	if err := Check(Evaluate(r, atMostOne)); err != nil {
		t.Errorf("a connection that the peer has lost: %v", err)
	}
}

func TestServersOfAScenario(t *testing.T) {
	if got, want := Servers(Targets, "closed1"), []string{"preforkd-stdio", "tcpserver"}; !slices.Equal(got, want) {
		t.Errorf("closed1 compares %v, want %v", got, want)
	}
	if got := Servers(Targets, "spawn"); len(got) > 0 {
		t.Errorf("spawn compares %v, and there is no target about it", got)
	}
}

// A bound must not depend on a server of another kind, nor on one that has to
// be installed. Preforkd itself, without a box, is neither.
func TestBoundsCompareWithBaselinesOnly(t *testing.T) {
	for _, b := range Bounds {
		if b.Peer != "" && !strings.HasPrefix(b.Peer, "baseline-") && b.Peer != "preforkd-stdio" {
			t.Errorf("%v is a bound", b)
		}
	}
}

package goal

import (
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/scenario"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// withRatio returns a record in which preforkd-stdio's latency is ratio times
// tcpserver's, whatever the machine's speed in a round was.
func withRatio(ratio float64) *result.Record {
	r := &result.Record{}
	for round, speed := range []float64{1, 5, 2} {
		for name, v := range map[string]float64{"preforkd-stdio": ratio, "tcpserver": 1} {
			r.Measurements = append(r.Measurements, result.Measurement{
				Scenario: "closed1", Server: name, Round: round,
				Values: map[result.Metric]float64{result.LatencyP50: v * speed},
			})
		}
	}
	return r
}

func TestJudgeAndCheck(t *testing.T) {
	for name, c := range map[string]struct {
		ratio      float64
		met, worse bool
	}{
		"met":              {0.5, true, false},
		"missed":           {1.0, false, false},
		"worse than bound": {9, false, true},
	} {
		verdicts := Judge(withRatio(c.ratio))
		if v := verdicts[0]; !v.Measured || v.Met != c.met || v.Worse != c.worse || v.Reached.Median != c.ratio {
			t.Errorf("%s: %+v", name, v)
		}
		if err := Check(verdicts, nil); (err != nil) != c.worse {
			t.Errorf("%s: check: %v", name, err)
		}
	}
}

func TestCheckOfNothingFails(t *testing.T) {
	if err := Check(Judge(&result.Record{}), nil); err == nil {
		t.Error("a record without measurements passed")
	}
	for name, required := range map[string]string{
		"was not measured":                   "P5",
		"was measured against one peer only": "P1",
		"does not exist":                     "P0",
	} {
		if err := Check(Judge(withRatio(0.5)), []string{required}); err == nil || !strings.Contains(err.Error(), required) {
			t.Errorf("a required goal %s: %v", name, err)
		}
	}
}

// Fast connections are no success of a server that loses others.
func TestCheckOfAServerThatFailsFails(t *testing.T) {
	for name, failed := range map[string]result.Measurement{
		"connections": {Scenario: "closed1", Server: "preforkd-stdio", Round: 1, Errors: map[string]int{"ECONNRESET": 900}},
		"a round":     {Scenario: "closed1", Server: "preforkd-stdio", Round: 3, Problem: "start: it ended by itself"},
		"all rounds":  {Scenario: "open", Server: "preforkd-spares", Round: 1, Problem: "start: it ended by itself"},
	} {
		r := withRatio(0.5)
		r.Measurements = append(r.Measurements, failed)
		if err := Check(Judge(r), nil); err == nil || !strings.Contains(err.Error(), failed.Server) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := withRatio(0.5)
	r.Measurements = append(r.Measurements, result.Measurement{Scenario: "closed1", Server: "tcpserver", Errors: map[string]int{"ECONNRESET": 1}})
	if err := Check(Judge(r), nil); err != nil {
		t.Errorf("a connection that the peer has lost: %v", err)
	}
}

func TestServersOfAScenario(t *testing.T) {
	if got, want := Servers("closed1"), []string{"preforkd-stdio", "tcpserver"}; !slices.Equal(got, want) {
		t.Errorf("closed1 compares %v, want %v", got, want)
	}
	if got := Servers("spawn"); len(got) > 0 {
		t.Errorf("spawn compares %v, and there is no goal about it", got)
	}
}

func TestGoalsNameWhatExists(t *testing.T) {
	for _, g := range Goals {
		if _, err := scenario.Select([]string{g.Scenario}); err != nil {
			t.Errorf("%v: %v", g, err)
		}
		for _, name := range []string{g.Server, g.Peer} {
			if name == "" {
				continue
			}
			if _, err := server.Select([]string{name}); err != nil {
				t.Errorf("%v: %v", g, err)
			}
		}
		if !g.Unchecked && g.AtLeast && g.Bound > g.Goal || !g.AtLeast && !g.Unchecked && g.Bound < g.Goal {
			t.Errorf("%v: the bound %v is stricter than the goal %v", g, g.Bound, g.Goal)
		}
	}
}

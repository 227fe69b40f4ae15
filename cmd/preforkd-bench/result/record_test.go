package result

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func record() *Record {
	return &Record{
		Format:    Format,
		Started:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Scenarios: []Scenario{{Name: "closed1", Shows: []Metric{LatencyP50}, Rounds: 3}},
		Servers:   []Server{{Name: "a"}, {Name: "b"}},
		Missing:   []Missing{{Server: "c", Reason: "not installed"}},
		Measurements: []Measurement{
			{Scenario: "closed1", Server: "a", Round: 1, Values: map[Metric]float64{LatencyP50: 10}},
			{Scenario: "closed1", Server: "a", Round: 2, Values: map[Metric]float64{LatencyP50: 30}, Errors: map[string]int{"ECONNRESET": 2}},
			{Scenario: "closed1", Server: "a", Round: 3, Problem: "did not start"},
			{Scenario: "closed1", Server: "b", Round: 1, Values: map[Metric]float64{LatencyP50: 5}},
		},
	}
}

func TestRecordSurvivesJSON(t *testing.T) {
	var kept bytes.Buffer
	want := record()
	if err := want.Write(&kept); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&kept)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReadRefusesStrangers(t *testing.T) {
	for _, content := range []string{"", "{}", `{"format": 99}`, `{"format": 1, "surprise": 1}`} {
		if _, err := Read(strings.NewReader(content)); err == nil {
			t.Errorf("%q was accepted", content)
		}
	}
}

func TestQueries(t *testing.T) {
	r := record()
	if got := r.Summary("closed1", "a", LatencyP50); got.N != 2 || got.Median != 20 {
		t.Errorf("summary %+v, want median 20 of 2", got)
	}
	want := map[string]int{"ECONNRESET": 2, "did not start": 1}
	if got := r.Errors("closed1", "a"); !reflect.DeepEqual(got, want) {
		t.Errorf("errors %v, want %v", got, want)
	}
}

func TestEveryMetricHasATitle(t *testing.T) {
	for m, title := range titles {
		if title == "" || m == "" {
			t.Errorf("metric %q has title %q", m, title)
		}
	}
}

// A reduced record says the same as the whole one, of what is kept.
func TestReduce(t *testing.T) {
	whole := withRatio(0.5)
	whole.Format = Format
	whole.Scenarios = []Scenario{{Name: "closed1", Shows: []Metric{LatencyP50}}, {Name: "bulk", Shows: []Metric{Throughput}}}
	whole.Servers = []Server{{Name: "a"}, {Name: "b"}}
	whole.Missing = []Missing{{Server: "a", Scenario: "bulk", Reason: "it cannot"}, {Server: "c", Reason: "not installed"}}
	whole.Measurements = append(whole.Measurements, Measurement{Scenario: "closed1", Server: "a", Round: 9, Problem: "did not start"},
		Measurement{Scenario: "bulk", Server: "b", Values: map[Metric]float64{Throughput: 1}})
	var kept bytes.Buffer
	if err := whole.Reduce("closed1").Write(&kept); err != nil {
		t.Fatal(err)
	}
	reduced, err := Read(&kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"a", "b"} {
		if got, want := reduced.Summary("closed1", server, LatencyP50), whole.Summary("closed1", server, LatencyP50); got != want {
			t.Errorf("%s: %+v, want %+v", server, got, want)
		}
		if got, want := reduced.Errors("closed1", server), whole.Errors("closed1", server); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: errors %v, want %v", server, got, want)
		}
	}
	if got := reduced.Ratio("closed1", LatencyP50, "a", "b"); got.N != 1 || got.Median != 0.5 {
		t.Errorf("a ratio that is no target's: %+v, want 0.5 once", got)
	}
	if got := reduced.Summary("bulk", "b", Throughput); got.N != 0 || len(reduced.Scenarios) != 1 || len(reduced.Missing) != 1 || len(reduced.Measurements) != 0 {
		t.Errorf("more than closed1 is left: %+v", reduced)
	}
}

// Of a target, the ratio is still the one within rounds.
func TestReduceKeepsRatiosOfTargets(t *testing.T) {
	target := Targets[0]
	whole := &Record{Scenarios: []Scenario{{Name: target.Scenario, Shows: []Metric{target.Metric}}}, Servers: []Server{{Name: target.Server}, {Name: target.Peer}}}
	for round, v := range [][2]float64{{10, 5}, {4, 4}, {3, 1}} {
		for i, name := range []string{target.Server, target.Peer} {
			whole.Measurements = append(whole.Measurements, Measurement{
				Scenario: target.Scenario, Server: name, Round: round, Values: map[Metric]float64{target.Metric: v[i]},
			})
		}
	}
	want := whole.Ratio(target.Scenario, target.Metric, target.Server, target.Peer)
	if got := whole.Reduce().Ratio(target.Scenario, target.Metric, target.Server, target.Peer); got != want || got.Median != 2 {
		t.Errorf("%+v, want %+v", got, want)
	}
}

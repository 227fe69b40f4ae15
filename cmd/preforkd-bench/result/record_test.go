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

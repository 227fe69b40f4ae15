package result

import (
	"fmt"
	"slices"
)

// A Median is what a reduced record keeps of one server in one scenario.
type Median struct {
	Scenario string             `json:"scenario"`
	Server   string             `json:"server"`
	Values   map[Metric]Summary `json:"values,omitempty"`
	Errors   map[string]int     `json:"errors,omitempty"` // of all rounds, problems included
}

// A Ratio is what a reduced record keeps of one server and its peer.
type Ratio struct {
	Scenario string  `json:"scenario"`
	Metric   Metric  `json:"metric"`
	Server   string  `json:"server"`
	Peer     string  `json:"peer"`
	Summary  Summary `json:"summary"`
}

// Reduce returns the record with the named scenarios only, or with all if none
// is named, and without what each round has measured: medians, quartiles and
// the ratios of the targets are what documents need.
func (r *Record) Reduce(scenarios ...string) *Record {
	reduced := *r
	reduced.Measurements, reduced.Medians, reduced.Ratios = nil, nil, nil
	dropped := func(name string) bool { return len(scenarios) > 0 && !slices.Contains(scenarios, name) }
	reduced.Scenarios = slices.DeleteFunc(slices.Clone(r.Scenarios), func(s Scenario) bool { return dropped(s.Name) })
	reduced.Missing = slices.DeleteFunc(slices.Clone(r.Missing), func(m Missing) bool { return m.Scenario != "" && dropped(m.Scenario) })
	for _, sc := range reduced.Scenarios {
		for _, s := range r.Servers {
			kept := Median{Scenario: sc.Name, Server: s.Name, Values: make(map[Metric]Summary), Errors: r.Errors(sc.Name, s.Name)}
			for _, m := range sc.Shows {
				if summary := r.Summary(sc.Name, s.Name, m); summary.N > 0 {
					kept.Values[m] = summary
				}
			}
			if len(kept.Values)+len(kept.Errors) > 0 {
				reduced.Medians = append(reduced.Medians, kept)
			}
		}
	}
	for _, t := range Targets {
		if t.Peer == "" || dropped(t.Scenario) {
			continue
		}
		if s := r.Ratio(t.Scenario, t.Metric, t.Server, t.Peer); s.N > 0 {
			reduced.Ratios = append(reduced.Ratios, Ratio{t.Scenario, t.Metric, t.Server, t.Peer, s})
		}
	}
	return &reduced
}

// summaryForm is how a summary is kept: one line, readable in a diff.
const summaryForm = "%.6g (%.6g to %.6g, %d rounds)"

// MarshalText implements encoding.TextMarshaler.
func (s Summary) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, summaryForm, s.Median, s.Low, s.High, s.N), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Summary) UnmarshalText(text []byte) error {
	if _, err := fmt.Sscanf(string(text), "%g (%g to %g, %d rounds)", &s.Median, &s.Low, &s.High, &s.N); err != nil {
		return fmt.Errorf("parse %q: want a form like %q: %w", text, "3 (2 to 4, 5 rounds)", err)
	}
	return nil
}

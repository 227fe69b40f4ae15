package result

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Format is the version of the record. Records of another version are refused.
const Format = 2

// A Record is a whole run. It has either the measurements of every round, or,
// when it was reduced, what Reduce has made of them.
type Record struct {
	Format       int           `json:"format"`
	Started      time.Time     `json:"started"`
	Seconds      float64       `json:"seconds"`
	Machine      Machine       `json:"machine"`
	Primitives   Primitives    `json:"primitives,omitempty"` // of the machine, measured before all else
	Short        bool          `json:"short"`
	Echo         string        `json:"echo"`            // the C echo that servers start: libc, musl or bare
	Notes        []string      `json:"notes,omitempty"` // what a reader must know to understand the numbers
	Scenarios    []Scenario    `json:"scenarios"`
	Servers      []Server      `json:"servers"`
	Missing      []Missing     `json:"missing,omitempty"`
	Measurements []Measurement `json:"measurements,omitempty"`
	Medians      []Median      `json:"medians,omitempty"`
	Ratios       []Ratio       `json:"ratios,omitempty"`
}

// A Scenario is one kind of load as it was run.
type Scenario struct {
	Name   string   `json:"name"`
	About  string   `json:"about"`
	Shows  []Metric `json:"shows"` // in the order of the table; the first two are compared with the peer
	Rounds int      `json:"rounds"`
}

// A Server is one that took part.
type Server struct {
	Name    string `json:"name"`
	Class   string `json:"class"`
	About   string `json:"about"`
	Version string `json:"version,omitempty"`
}

// Missing is a server that was left out of everything or of one scenario, or a
// scenario that was left out.
type Missing struct {
	Server   string `json:"server,omitempty"`
	Scenario string `json:"scenario,omitempty"`
	Reason   string `json:"reason"`
}

// A Measurement is one round of one scenario with one server.
type Measurement struct {
	Scenario string             `json:"scenario"`
	Server   string             `json:"server"`
	Round    int                `json:"round"`
	Values   map[Metric]float64 `json:"values,omitempty"`
	Errors   map[string]int     `json:"errors,omitempty"`
	Problem  string             `json:"problem,omitempty"` // why there are no values
}

// Values returns one metric by round, of the rounds that have it.
func (r *Record) Values(scenario, server string, m Metric) map[int]float64 {
	values := make(map[int]float64)
	for _, x := range r.Measurements {
		if v, ok := x.Values[m]; ok && x.Scenario == scenario && x.Server == server {
			values[x.Round] = v
		}
	}
	return values
}

// Summary describes one metric over its rounds.
func (r *Record) Summary(scenario, server string, m Metric) Summary {
	for _, kept := range r.Medians {
		if kept.Scenario == scenario && kept.Server == server {
			if s, ok := kept.Values[m]; ok {
				return s
			}
		}
	}
	var values []float64
	for _, v := range r.Values(scenario, server, m) {
		values = append(values, v)
	}
	return Summarize(values)
}

// Ratio describes one metric of a server, divided by a peer's. The ratio is
// taken within each round, when both met the same machine. A reduced record has
// the ratios of the targets; for others it is the ratio of the medians.
func (r *Record) Ratio(scenario string, m Metric, server, peer string) Summary {
	for _, kept := range r.Ratios {
		if kept.Scenario == scenario && kept.Metric == m && kept.Server == server && kept.Peer == peer {
			return kept.Summary
		}
	}
	a, b := r.Values(scenario, server, m), r.Values(scenario, peer, m)
	if len(r.Medians) > 0 {
		a = map[int]float64{0: r.Summary(scenario, server, m).Median}
		b = map[int]float64{0: r.Summary(scenario, peer, m).Median}
	}
	return quotients(a, b)
}

// Errors adds up the errors of all rounds by kind, problems included.
func (r *Record) Errors(scenario, server string) map[string]int {
	sum := make(map[string]int)
	for _, kept := range r.Medians {
		if kept.Scenario == scenario && kept.Server == server {
			for kind, n := range kept.Errors {
				sum[kind] += n
			}
		}
	}
	for _, x := range r.Measurements {
		if x.Scenario != scenario || x.Server != server {
			continue
		}
		for kind, n := range x.Errors {
			sum[kind] += n
		}
		if x.Problem != "" {
			sum[x.Problem]++
		}
	}
	return sum
}

// Write writes the record as JSON.
func (r *Record) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", " ")
	if err := out.Encode(r); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// Read reads a record that Write wrote.
func Read(r io.Reader) (*Record, error) {
	var record Record
	in := json.NewDecoder(r)
	in.DisallowUnknownFields()
	if err := in.Decode(&record); err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	if record.Format != Format {
		return nil, fmt.Errorf("read results: format %d, this program reads %d", record.Format, Format)
	}
	return &record, nil
}

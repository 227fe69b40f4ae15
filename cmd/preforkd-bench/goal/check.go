package goal

import (
	"fmt"
	"slices"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/stats"
)

// Servers returns the servers that the goals of a scenario compare.
func Servers(scenario string) []string {
	var names []string
	for _, g := range Goals {
		for _, name := range []string{g.Server, g.Peer} {
			if g.Scenario == scenario && name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// A Verdict is a goal and what was reached.
type Verdict struct {
	Goal
	Reached  stats.Summary
	Failed   map[string]int // connections that the server lost, and rounds, by kind
	Measured bool
	Met      bool // as promised
	Worse    bool // than the bound
}

// Judge compares a record with all goals.
func Judge(r *result.Record) []Verdict {
	var verdicts []Verdict
	for _, g := range Goals {
		v := Verdict{Goal: g, Failed: r.Errors(g.Scenario, g.Server)}
		if g.Peer == "" {
			v.Reached = r.Summary(g.Scenario, g.Server, g.Metric)
		} else {
			v.Reached = stats.Ratio(r.Values(g.Scenario, g.Server, g.Metric), r.Values(g.Scenario, g.Peer, g.Metric))
		}
		if v.Measured = v.Reached.N > 0; v.Measured {
			v.Met = g.holds(v.Reached.Median, g.Goal)
			v.Worse = !g.Unchecked && !g.holds(v.Reached.Median, g.Bound)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (g Goal) holds(value, limit float64) bool {
	if g.AtLeast {
		return value >= limit
	}
	return value <= limit
}

// String says what is compared: "closed16 conn/s of preforkd-stdio / tcpserver".
func (g Goal) String() string {
	s := fmt.Sprintf("%s %s of %s", g.Scenario, g.Metric.Title(), g.Server)
	if g.Metric == result.CPUMaster {
		s = fmt.Sprintf("%s master's CPU us of %s", g.Scenario, g.Server)
	} else if g.Metric == result.CPUWorkers {
		s = fmt.Sprintf("%s workers' CPU of %s", g.Scenario, g.Server)
	}
	if g.Peer != "" {
		s += " / " + g.Peer
	}
	return s
}

// Limit formats a limit with its direction: ">= 1.1".
func (g Goal) Limit(limit float64) string {
	if g.AtLeast {
		return fmt.Sprintf(">= %g", limit)
	}
	return fmt.Sprintf("<= %g", limit)
}

// Check returns an error when a goal is worse than its bound, when a server
// failed, whose other connections may have been the faster for it, when one of
// the required was not measured against each of its peers, or when nothing was
// measured at all: a check that has nothing to check must not look like one
// that passed.
func Check(verdicts []Verdict, required []string) error {
	worse, measured := 0, 0
	for _, v := range verdicts {
		if v.Worse {
			worse++
		}
		if v.Measured {
			measured++
		}
	}
	if worse > 0 {
		return fmt.Errorf("%d of %d measured ratios are worse than their bound", worse, measured)
	}
	for _, v := range verdicts {
		if len(v.Failed) > 0 {
			return fmt.Errorf("%s failed in %s: %v", v.Server, v.Scenario, v.Failed)
		}
	}
	if measured == 0 {
		return fmt.Errorf("no goal was measured")
	}
	for _, id := range required {
		if !slices.ContainsFunc(verdicts, func(v Verdict) bool { return v.ID == id }) {
			return fmt.Errorf("goal %s is required and there is none", id)
		}
	}
	for _, v := range verdicts {
		if !v.Measured && slices.Contains(required, v.ID) {
			return fmt.Errorf("goal %s is required and was not measured: %v", v.ID, v)
		}
	}
	return nil
}

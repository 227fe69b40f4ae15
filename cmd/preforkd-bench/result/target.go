package result

import (
	"errors"
	"fmt"
	"slices"
)

// Servers returns the servers that some targets compare in a scenario.
func Servers(targets []Target, scenario string) []string {
	var names []string
	for _, t := range targets {
		for _, name := range []string{t.Server, t.Peer} {
			if t.Scenario == scenario && name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// An Evaluation is a target and what was reached.
type Evaluation struct {
	Target
	Reached  Summary
	Failed   map[string]int // connections that the server lost, and rounds, by kind
	Missing  string         // why the server or the peer took no part in the scenario that was run
	Measured bool
	Met      bool
}

// Evaluate compares a record with targets.
func Evaluate(r *Record, targets []Target) []Evaluation {
	var evaluations []Evaluation
	for _, t := range targets {
		e := Evaluation{Target: t, Failed: r.Errors(t.Scenario, t.Server), Missing: r.missing(t)}
		if t.Peer == "" {
			e.Reached = r.Summary(t.Scenario, t.Server, t.Metric)
		} else {
			e.Reached = r.Ratio(t.Scenario, t.Metric, t.Server, t.Peer)
		}
		e.Measured = e.Reached.N > 0
		e.Met = e.Measured && t.holds(e.Reached.Median)
		evaluations = append(evaluations, e)
	}
	return evaluations
}

// missing returns why a run has not what a target compares. Nothing is missing of a
// scenario that was not to be run.
func (r *Record) missing(t Target) string {
	if !slices.ContainsFunc(r.Scenarios, func(s Scenario) bool { return s.Name == t.Scenario }) {
		return ""
	}
	for _, m := range r.Missing {
		if (m.Scenario == "" || m.Scenario == t.Scenario) && (m.Server == t.Server || m.Server == t.Peer && t.Peer != "") {
			return m.Reason
		}
	}
	return ""
}

func (t Target) holds(value float64) bool {
	if t.AtLeast {
		return value >= t.Want
	}
	return value <= t.Want
}

// String says what is compared: "closed16 conn/s of preforkd-stdio / tcpserver".
func (t Target) String() string {
	s := fmt.Sprintf("%s %s of %s", t.Scenario, t.Quantity(), t.Server)
	if t.Peer != "" {
		s += " / " + t.Peer
	}
	return s
}

// Quantity says what is compared, with its unit, if that is not a ratio's: "conn/s".
func (t Target) Quantity() string {
	switch {
	case t.Metric == CPUMaster && t.Peer == "":
		return "master's CPU us"
	case t.Metric == CPUMaster:
		return "master's CPU"
	case t.Metric == CPUWorkers:
		return "workers' CPU"
	default:
		return t.Metric.Title()
	}
}

// Limit returns what is wanted with its direction: ">= 1.1".
func (t Target) Limit() string {
	sign, form := "<=", "%s %.3g"
	if t.AtLeast {
		sign = ">="
	}
	if t.Want >= 100 {
		form = "%s %.0f"
	}
	return fmt.Sprintf(form, sign, t.Want)
}

// Check returns an error that names every target that was missed or not
// measured, and every server that failed: other connections of a server that
// loses some may be the faster for it. Nothing to check is an error as well.
func Check(evaluations []Evaluation) error {
	if len(evaluations) == 0 {
		return errors.New("nothing was to be checked")
	}
	var problems []error
	for _, e := range evaluations {
		switch {
		case len(e.Failed) > 0:
			problems = append(problems, fmt.Errorf("%s failed in %s: %v", e.Server, e.Scenario, e.Failed))
		case !e.Measured && e.Missing != "":
			problems = append(problems, fmt.Errorf("%v was not measured: %s", e.Target, e.Missing))
		case !e.Measured:
			problems = append(problems, fmt.Errorf("%v was not measured", e.Target))
		case !e.Met:
			problems = append(problems, fmt.Errorf("%v is %.3g, bound %s", e.Target, e.Reached.Median, e.Limit()))
		}
	}
	return errors.Join(problems...)
}

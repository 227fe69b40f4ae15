package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// TargetTable is the table of targets as Markdown. Those that were not measured
// are there only if the server has failed or could not be had.
func TargetTable(evaluations []result.Evaluation) string {
	var w strings.Builder
	fmt.Fprintln(&w, "| | what | target | reached | quartiles |")
	fmt.Fprintln(&w, "|---|---|---|---|---|")
	for _, e := range evaluations {
		if !e.Measured {
			if e.Missing != "" {
				fmt.Fprintf(&w, "| %s | %v | %s | not measured | %s |\n", e.ID, e.Target, sign(e.Limit()), e.Missing)
			} else if len(e.Failed) > 0 {
				fmt.Fprintf(&w, "| %s | %v | %s | fails | %s |\n", e.ID, e.Target, sign(e.Limit()), failures(e.Failed))
			}
			continue
		}
		reached := number(e.Reached.Median)
		if e.Met {
			reached = "**" + reached + "**"
		}
		quartiles := ""
		if e.Reached.N > 1 {
			quartiles = number(e.Reached.Low) + " to " + number(e.Reached.High)
		}
		fmt.Fprintf(&w, "| %s | %v | %s | %s | %s |\n", e.ID, e.Target, sign(e.Limit()), reached, quartiles)
	}
	return w.String()
}

// sign writes comparisons as they are written on paper.
func sign(limit string) string { return strings.NewReplacer("<=", "≤", ">=", "≥").Replace(limit) }

// ScenarioTable is all of one scenario as Markdown, under what its machine is
// like: a row for each server that has taken part, and how it has failed.
func ScenarioTable(r *result.Record, sc result.Scenario) string {
	var w strings.Builder
	if line := Primitives(r.Primitives); line != "" {
		fmt.Fprintf(&w, "%s.\n\n", line)
	}
	head, line := "| server |", "|---|"
	for _, m := range sc.Shows {
		head, line = head+" "+m.Title()+" |", line+"--:|"
	}
	fmt.Fprintf(&w, "%s errors |\n%s---|\n", head, line)
	for _, s := range r.Servers {
		row, any := "| "+s.Name+" |", false
		for _, m := range sc.Shows {
			cell := ""
			if summary := r.Summary(sc.Name, s.Name, m); summary.N > 0 {
				cell, any = value(m, summary.Median), true
			}
			row += " " + cell + " |"
		}
		if errors := failures(r.Errors(sc.Name, s.Name)); any || errors != "" {
			fmt.Fprintf(&w, "%s %s |\n", row, errors)
		}
	}
	for _, m := range r.Missing {
		if m.Scenario == sc.Name {
			fmt.Fprintf(&w, "\n%s is left out: %s\n", cmp.Or(m.Server, sc.Name), m.Reason)
		}
	}
	return w.String()
}

// A column of the table of servers is one metric of one scenario.
type column struct {
	title    string
	scenario string
	metric   result.Metric
}

var serverColumns = []column{
	{"1 client: median µs", "closed1", result.LatencyP50},
	{"16 clients: connections/s", "closed16", result.Rate},
	{"CPU ms each", "closed16", result.CPU},
	{"of it the master's", "closed16", result.CPUMaster},
	{"fixed rate: median µs", "open", result.LatencyP50},
	{"99 % µs", "open", result.LatencyP99},
	{"stream: MiB/s", "bulk", result.Throughput},
	{"idle: KiB", "idle", result.Memory},
}

// ServerTable is a table of all servers as Markdown: a column for each of the
// most telling metrics that the runs have.
func ServerTable(runs []*result.Record) string {
	var w strings.Builder
	find := func(c column, server string) result.Summary {
		for _, r := range runs {
			if s := r.Summary(c.scenario, server, c.metric); s.N > 0 {
				return s
			}
		}
		return result.Summary{}
	}
	var servers []string
	for _, r := range runs {
		for _, s := range r.Servers {
			if !slices.Contains(servers, s.Name) {
				servers = append(servers, s.Name)
			}
		}
	}
	var columns []column
	head, line := "| server |", "|---|"
	for _, c := range serverColumns {
		if slices.ContainsFunc(servers, func(server string) bool { return find(c, server).N > 0 }) {
			columns = append(columns, c)
			head, line = head+" "+c.title+" |", line+"--:|"
		}
	}
	fmt.Fprintf(&w, "%s\n%s\n", head, line)
	for _, server := range servers {
		row, any := "| "+server+" |", false
		for _, c := range columns {
			cell := ""
			if summary := find(c, server); summary.N > 0 {
				cell, any = value(c.metric, summary.Median), true
			}
			row += " " + cell + " |"
		}
		if any {
			fmt.Fprintln(&w, row)
		}
	}
	return w.String()
}

package show

import (
	"fmt"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/goal"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// GoalTable is the table of goals that were measured as Markdown, with the
// command that measures each of them again.
func GoalTable(verdicts []goal.Verdict) string {
	var w strings.Builder
	fmt.Fprintln(&w, "| | what | goal | reached | quartiles | measured by `make bench` with |")
	fmt.Fprintln(&w, "|---|---|---|---|---|---|")
	for _, v := range verdicts {
		if !v.Measured {
			continue
		}
		reached := number(v.Reached.Median)
		if v.Met {
			reached = "**" + reached + "**"
		}
		quartiles := ""
		if v.Reached.N > 1 {
			quartiles = number(v.Reached.Low) + " to " + number(v.Reached.High)
		}
		servers := v.Server
		if v.Peer != "" {
			servers += "," + v.Peer
		}
		fmt.Fprintf(&w, "| %s | %v | %s | %s | %s | `BENCH='--scenarios %s --servers %s'` |\n",
			v.ID, v.Goal, sign(v.Limit(v.Goal.Goal)), reached, quartiles, v.Scenario, servers)
	}
	return w.String()
}

// sign writes comparisons as they are written on paper.
func sign(limit string) string { return strings.NewReplacer("<=", "≤", ">=", "≥").Replace(limit) }

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
}

// ServerTable is a table of all servers as Markdown: a column for each of the
// most telling metrics that the record has.
func ServerTable(r *result.Record) string {
	var w strings.Builder
	var columns []column
	head, line := "| server |", "|---|"
	for _, c := range serverColumns {
		for _, s := range r.Servers {
			if r.Summary(c.scenario, s.Name, c.metric).N > 0 {
				columns = append(columns, c)
				head, line = head+" "+c.title+" |", line+"--:|"
				break
			}
		}
	}
	fmt.Fprintf(&w, "%s\n%s\n", head, line)
	for _, s := range r.Servers {
		row, any := "| "+s.Name+" |", false
		for _, c := range columns {
			cell := ""
			if summary := r.Summary(c.scenario, s.Name, c.metric); summary.N > 0 {
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

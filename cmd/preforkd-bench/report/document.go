package report

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

//go:embed benchmarks.md.tmpl
var documentText string

// Document is the long document about kept runs, as Markdown: tables, and text
// whose figures are those of the tables. The runs have no scenario in common,
// so no figure can be there twice.
func Document(runs []*result.Record) (string, error) {
	if err := disjoint(runs); err != nil {
		return "", err
	}
	var problem error
	find := func(scenario, server string, m result.Metric) float64 {
		for _, r := range runs {
			if s := r.Summary(scenario, server, m); s.N > 0 {
				return s.Median
			}
		}
		problem = fmt.Errorf("no run has %s of %s in %s", m, server, scenario)
		return 0
	}
	document := template.New("document").Funcs(template.FuncMap{
		"value": func(scenario, metric, server string) string {
			return value(result.Metric(metric), find(scenario, server, result.Metric(metric)))
		},
		"us": func(scenario, metric, server string) string {
			return number(find(scenario, server, result.Metric(metric)))
		},
		"ratio": func(scenario, metric, server, peer string) string {
			for _, r := range runs {
				if s := r.Ratio(scenario, result.Metric(metric), server, peer); s.N > 0 {
					return number(s.Median)
				}
			}
			problem = fmt.Errorf("no run has %s of %s and %s in %s", metric, server, peer, scenario)
			return ""
		},
		"table": func(scenario string) string {
			for _, r := range runs {
				if i := slices.IndexFunc(r.Scenarios, func(s result.Scenario) bool { return s.Name == scenario }); i >= 0 {
					return ScenarioTable(r, r.Scenarios[i])
				}
			}
			problem = fmt.Errorf("no run has the scenario %s", scenario)
			return ""
		},
		"primitive": func(scenario, name string) string {
			for _, r := range runs {
				if slices.ContainsFunc(r.Scenarios, func(s result.Scenario) bool { return s.Name == scenario }) {
					if v, ok := r.Primitives[result.Primitive(name)]; ok {
						return number(v / 1000)
					}
				}
			}
			problem = fmt.Errorf("the run of %s has no primitive %s", scenario, name)
			return ""
		},
		"code": func(s string) string { return "`" + s + "`" },
	})
	if _, err := document.Parse(documentText); err != nil {
		return "", err
	}
	var w strings.Builder
	err := document.Execute(&w, map[string]any{
		"Servers": ServerTable(runs), "Targets": TargetTable(evaluate(runs)), "Runs": machines(runs), "About": aboutTable(runs),
	})
	if err != nil {
		return "", err
	}
	return w.String(), problem
}

// disjoint refuses runs that have a scenario in common.
func disjoint(runs []*result.Record) error {
	seen := make(map[string]bool)
	for _, r := range runs {
		for _, s := range r.Scenarios {
			if seen[s.Name] {
				return fmt.Errorf("two runs have the scenario %s: the document would show two figures for one thing", s.Name)
			}
			seen[s.Name] = true
		}
	}
	return nil
}

// evaluate returns the evaluations of the targets that some run has measured, or
// has tried to: a server that fails has missed its target.
func evaluate(runs []*result.Record) []result.Evaluation {
	var all []result.Evaluation
	for _, t := range result.Targets {
		for _, r := range runs {
			if e := result.Evaluate(r, []result.Target{t})[0]; e.Measured || len(e.Failed) > 0 || e.Missing != "" {
				all = append(all, e)
				break
			}
		}
	}
	return all
}

// machines says of each run where and when it took place, and with what.
func machines(runs []*result.Record) string {
	var w strings.Builder
	for _, r := range runs {
		var names []string
		for _, s := range r.Scenarios {
			names = append(names, s.Name)
		}
		fmt.Fprintf(&w, "- %s: %s, preforkd %s, %v.\n", strings.Join(names, ", "), r.Started.Format("2006-01-02"), version(r), r.Machine)
		if line := Primitives(r.Primitives); line != "" {
			fmt.Fprintf(&w, "  %s.\n", line)
		}
		for _, note := range r.Notes {
			fmt.Fprintf(&w, "  Note: %s.\n", strings.TrimSuffix(note, "."))
		}
	}
	return w.String()
}

// version returns the version of preforkd that a run was made with.
func version(r *result.Record) string {
	for _, s := range r.Servers {
		if strings.HasPrefix(s.Name, "preforkd") {
			return s.Version
		}
	}
	return "unknown"
}

// aboutTable says what each server is, in the words that `list` has for it.
func aboutTable(runs []*result.Record) string {
	var w strings.Builder
	fmt.Fprintln(&w, "| server | what it is | version |\n|---|---|---|")
	seen := make(map[string]bool)
	for _, r := range runs {
		for _, s := range r.Servers {
			if !seen[s.Name] && s.Class != "spawn" {
				seen[s.Name] = true
				fmt.Fprintf(&w, "| %s | %s | %s |\n", s.Name, s.About, s.Version)
			}
		}
	}
	return w.String()
}

// What the README shows of a run: these servers, and of each what a reader who
// wants to choose one asks first.
var (
	comparedServers = []name{
		{"preforkd-stdio", "preforkd, a C program"},
		{"preforkd-echo", "preforkd, its confined echo"},
		{"preforkd-spares", "the same, 16 spares"},
		{"preforkd-reuse", "the same, reused"},
		{"tcpserver", "tcpserver"},
		{"xinetd", "xinetd"},
		{"socat", "socat"},
		{"systemd-accept", "systemd, `Accept=yes`"},
	}
	comparedColumns = []column{
		{"1 client: median µs", "closed1", result.LatencyP50},
		{"16 clients: connections/s", "closed16", result.Rate},
		{"CPU ms each", "closed16", result.CPU},
		{"stream: MiB/s", "bulk", result.Throughput},
	}
)

// Compared is the short table of a run of servers, a sentence about its machine, and the
// goals of all runs. The README has them between the markers.
func Compared(servers *result.Record, runs []*result.Record) string {
	return compared(servers) + "\nGoals, and what was reached, bold where that is what is wanted:\n\n" + goals(evaluate(runs))
}

// goalsAbout says what each goal is about.
var goalsAbout = map[string]string{
	"P1": "a program linked with musl", "P1g": "one linked with glibc", "P2": "built-in echo", "P3": "spares, at a fixed rate",
	"P4": "reuse", "P5": "one stream", "P6": "10,000 idle connections", "P7": "10,000 live beside 10", "P8": "10,000 services",
	"P9": "refusals", "B1": "a box", "B1m": "a box, musl", "B2": "a box, spares", "B3": "a box", "B4": "a box", "B5": "a box",
	"B6": "2,000 boxes beside 10",
}

// clients says how many clients a scenario has, where goals of several stand beside each
// other.
var clients = map[string]string{"musl1": "1 client:", "musl16": "16 clients:", "closed1": "1 client:", "closed16": "16 clients:"}

// goals says what preforkd is to reach and has reached: of the goals of one name, which
// stand beside each other, in one line. What stands in the item before is not repeated.
func goals(evaluations []result.Evaluation) string {
	var w strings.Builder
	servers, several := make(map[string]string), make(map[string]bool)
	for _, e := range evaluations {
		several[e.ID] = several[e.ID] || servers[e.ID] != "" && servers[e.ID] != e.Server
		servers[e.ID] = e.Server
	}
	fmt.Fprint(&w, "| | what | reached |\n|---|---|---|")
	var last result.Target
	for _, e := range evaluations {
		if e.ID == last.ID {
			fmt.Fprint(&w, "; ")
		} else {
			if last.ID != "" {
				fmt.Fprint(&w, " |")
			}
			last = result.Target{}
			fmt.Fprintf(&w, "\n| %s | %s | ", e.ID, goalsAbout[e.ID])
		}
		var words []string
		if e.Scenario != last.Scenario && clients[e.Scenario] != "" {
			words = append(words, clients[e.Scenario])
		}
		if e.Scenario != last.Scenario || e.Metric != last.Metric {
			words = append(words, e.Quantity())
		}
		if e.Server != last.Server && several[e.ID] {
			words = append(words, "of "+strings.TrimPrefix(e.Server, "preforkd-"))
		}
		if e.Peer != "" {
			words = append(words, "/ "+strings.TrimPrefix(e.Peer, "preforkd-"))
		}
		fmt.Fprintf(&w, "%s %s: %s", strings.Join(words, " "), sign(e.Limit()), reached(e))
		last = e.Target
	}
	return w.String() + " |\n"
}

// reached is the median that was reached, or why there is none.
func reached(e result.Evaluation) string {
	switch {
	case len(e.Failed) > 0:
		return "fails"
	case !e.Measured:
		return "not measured"
	case e.Met:
		return "**" + number(e.Reached.Median) + "**"
	default:
		return number(e.Reached.Median)
	}
}

// A name is how a server is called in a short table.
type name struct{ name, about string }

func compared(r *result.Record) string {
	var w strings.Builder
	if line := Primitives(r.Primitives); line != "" {
		fmt.Fprintf(&w, "%s.\n\n", line)
	}
	head, line := "| server |", "|---|"
	for _, c := range comparedColumns {
		head, line = head+" "+c.title+" |", line+"--:|"
	}
	fmt.Fprintf(&w, "%s\n%s\n", head, line)
	for _, s := range comparedServers {
		fmt.Fprintf(&w, "| %s |", s.about)
		for _, c := range comparedColumns {
			fmt.Fprintf(&w, " %s |", value(c.metric, r.Summary(c.scenario, s.name, c.metric).Median))
		}
		fmt.Fprintln(&w)
	}
	fmt.Fprintf(&w, "\nMedians of one run on %d processors (%s, Linux %s, %s).\n",
		r.Machine.Cores, r.Machine.CPU, strings.Fields(r.Machine.Kernel)[0], r.Started.Format("2006-01-02"))
	return w.String()
}

// The markers of what is generated in a document that people write.
const (
	beginMarker = "<!-- compared: begin -->\n"
	endMarker   = "<!-- compared: end -->\n"
)

// Between returns what a document has between the markers, and the parts
// around it, markers included.
func Between(document string) (before, between, after string, err error) {
	before, rest, begun := strings.Cut(document, beginMarker)
	between, after, ended := strings.Cut(rest, endMarker)
	if !begun || !ended {
		return "", "", "", fmt.Errorf("the markers %q and %q are missing", strings.TrimSpace(beginMarker), strings.TrimSpace(endMarker))
	}
	return before + beginMarker, between, endMarker + after, nil
}

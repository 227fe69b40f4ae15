package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// Text returns the whole report; ratios are to the named peer.
func Text(r *result.Record, peer string) string {
	var w strings.Builder
	fmt.Fprintf(&w, "preforkd-bench, %s, %.0f s\n%v\n", r.Started.Format("2006-01-02 15:04 MST"), r.Seconds, r.Machine)
	fmt.Fprintln(&w, "Medians [quartiles] over rounds. CPU in seconds per thousand connections: master + workers = CPU; machine is the busy")
	fmt.Fprintln(&w, "time of all CPUs less the load generator's, other programs included. Compare within one run only.")
	switch r.Echo {
	case "musl":
		fmt.Fprintln(&w, "The C echo that servers start is linked with musl.")
	case "bare":
		fmt.Fprintln(&w, "The C echo that servers start is the one without a C library.")
	}
	for _, note := range r.Notes {
		fmt.Fprintln(&w, "Note: "+note)
	}
	fmt.Fprint(&w, "\n", primitives(r))
	var rows [][]string
	for _, s := range r.Servers {
		if s.Class != "spawn" {
			rows = append(rows, []string{s.Name, s.Class, s.Version, s.About})
		}
	}
	columns(&w, rows)
	for _, m := range r.Missing {
		if m.Scenario == "" {
			fmt.Fprintf(&w, "  %s: left out: %s\n", m.Server, m.Reason)
		}
	}
	for _, sc := range r.Scenarios {
		w.WriteString("\n" + primitives(r) + table(r, sc, peer))
	}
	w.WriteString("\n" + primitives(r) + Targets("targets", result.Evaluate(r, result.Targets)))
	return w.String()
}

// table is one scenario: a row for every server.
func table(r *result.Record, sc result.Scenario, peer string) string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s: %s (%d rounds)\n", sc.Name, sc.About, sc.Rounds)
	compared := sc.Shows[:min(2, len(sc.Shows))]
	if r.Summary(sc.Name, peer, sc.Shows[0]).N == 0 {
		compared = nil // the peer took no part in this one
	}
	head := []string{"server"}
	for i, m := range sc.Shows {
		head = append(head, m.Title())
		if i < len(compared) {
			head = append(head, "/ "+peer)
		}
	}
	rows := [][]string{append(head, "errors")}
	for _, s := range r.Servers {
		row := []string{s.Name}
		any := false
		for i, m := range sc.Shows {
			summary := r.Summary(sc.Name, s.Name, m)
			any = any || summary.N > 0
			if i < len(compared) {
				ratio := r.Ratio(sc.Name, m, s.Name, peer)
				row = append(row, spread(m, summary), number(ratio.Median))
			} else {
				row = append(row, value(m, summary.Median))
			}
		}
		errors := failures(r.Errors(sc.Name, s.Name))
		if any || errors != "" {
			rows = append(rows, append(row, errors))
		}
	}
	columns(&w, rows)
	for _, m := range r.Missing {
		if m.Scenario == sc.Name {
			fmt.Fprintf(&w, "  %s: left out: %s\n", cmp.Or(m.Server, sc.Name), m.Reason)
		}
	}
	return w.String()
}

// Targets is a table of targets, under a title, and what was reached.
func Targets(title string, evaluations []result.Evaluation) string {
	var w strings.Builder
	fmt.Fprintln(&w, title)
	rows := [][]string{{"", "reached", "quartiles", "wanted", ""}}
	for _, e := range evaluations {
		reached, quartiles, state := "-", "-", "missed"
		switch {
		case !e.Measured:
			state = "not measured"
		case e.Met:
			state = "met"
		}
		if e.Measured {
			reached, quartiles = number(e.Reached.Median), number(e.Reached.Low)+"-"+number(e.Reached.High)
		}
		rows = append(rows, []string{e.ID + "  " + e.Target.String(), reached, quartiles, e.Limit(), state})
	}
	columns(&w, rows)
	return w.String()
}

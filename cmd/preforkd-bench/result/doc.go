// Package result is the record of a run: what was measured, on which machine,
// with what, and what was left out and why. It is what --json keeps and what
// the tables, the chart and the check are made from, so a record that was kept
// gives the same tables as the run itself.
package result

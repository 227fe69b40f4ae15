// Package result is the record of a run: what was measured, on which machine,
// with what, and what was left out and why. It reduces repeated measurements
// to medians and quartiles, takes ratios within a round, and compares them with
// targets. It is what --json keeps and what tables, documents and the check
// are made from, so a record that was kept gives the same tables as the run
// itself.
package result

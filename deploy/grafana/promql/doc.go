// Package promql holds the queries of the dashboard to the grammar of
// Prometheus. It is a module of its own: its test needs the parser of
// Prometheus, whose requirements would more than double preforkd's own go.sum.
package promql

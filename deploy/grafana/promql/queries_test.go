package promql

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// Every query is one that Prometheus understands.
func TestQueriesParse(t *testing.T) {
	text, err := os.ReadFile("../preforkd.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries++
			if err := parse(target.Expr); err != nil {
				t.Errorf("panel %q: %s: %v", panel.Title, target.Expr, err)
			}
		}
	}
	if queries == 0 {
		t.Error("the dashboard has no query")
	}
}

// parse parses a query as Grafana sends it.
func parse(query string) error {
	_, err := parser.ParseExpr(strings.ReplaceAll(query, "$__rate_interval", "5m"))
	return err
}

// What Prometheus refuses is refused here.
func TestBadQueries(t *testing.T) {
	for _, query := range []string{"", "rate(x)", "rate(x[5m]", "sum by (a) rate(x[5m])", "nosuch(x)", `x{a="b}`, "x +", "rate(x[$__interval])"} {
		if parse(query) == nil {
			t.Errorf("%q is taken for a query", query)
		}
	}
}

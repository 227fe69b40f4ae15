package grafana

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/metrics"
)

// A dashboard is as much of the file as matters here.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Query, Definition string }
	}
	Panels []struct {
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func load(t *testing.T) (d dashboard, exprs []string) {
	t.Helper()
	text, err := os.ReadFile("preforkd.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	return d, exprs
}

var metricName = regexp.MustCompile(`\b(preforkd|process|go)_[a-z0-9_]+\b`)

// Every query is about metrics that there are, and every metric is asked for.
func TestQueriesNameMetrics(t *testing.T) {
	d, exprs := load(t)
	for _, v := range d.Templating.List {
		exprs = append(exprs, v.Query, v.Definition)
	}
	known := metrics.Names()
	asked := map[string]bool{}
	for _, expr := range exprs {
		for _, name := range metricName.FindAllString(expr, -1) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			asked[base] = true
			if strings.HasPrefix(name, "preforkd_") && !slices.Contains(known, base) {
				t.Errorf("%s: there is no metric %s", expr, name)
			}
		}
	}
	for _, name := range known {
		if !asked[name] {
			t.Errorf("nothing shows %s", name)
		}
	}
}

// No panel lies on another.
func TestPanelsStandApart(t *testing.T) {
	d, _ := load(t)
	for i, a := range d.Panels {
		if a.GridPos.X+a.GridPos.W > 24 {
			t.Errorf("%q is beyond the right edge", a.Title)
		}
		for _, b := range d.Panels[:i] {
			p, q := a.GridPos, b.GridPos
			if p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H {
				t.Errorf("%q and %q overlap", a.Title, b.Title)
			}
		}
	}
}

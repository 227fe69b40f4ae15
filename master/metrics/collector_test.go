package metrics

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/control"
)

// A fakeMaster always has the same status.
type fakeMaster control.Status

func (p fakeMaster) Summary(context.Context) (control.Status, error) { return control.Status(p), nil }

// No name of a listener makes the scrape fail, even if it occurs twice. Labels
// must be UTF-8, and paths need not be. A manager may pass several sockets that
// share an address by SO_REUSEPORT.
func TestListenersAsLabels(t *testing.T) {
	listener := func(local string, queue, backlog int) control.Listener {
		return control.Listener{Local: local, Queue: &queue, Backlog: &backlog}
	}
	m := fakeMaster{Services: []control.Service{{Name: "echo", Listeners: []control.Listener{
		listener("127.0.0.1:7007", 1, 10), listener("127.0.0.1:7007", 2, 20),
		listener("unix:/run/a\xff", 3, 30), listener("unix:/run/a\xfe", 4, 40),
		listener("unix:/run/\"\n\\", 5, 50), {Local: "unix:/run/unknown"},
	}}}}
	w := httptest.NewRecorder()
	Handler(m, Labels{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	for _, want := range []string{
		`preforkd_accept_queue_length{listener="127.0.0.1:7007",service="echo"} 3`,
		`preforkd_accept_queue_limit{listener="127.0.0.1:7007",service="echo"} 30`,
		`preforkd_accept_queue_length{listener="unix:/run/a` + "\uFFFD" + `",service="echo"} 7`,
		`preforkd_accept_queue_length{listener="unix:/run/\"\n\\",service="echo"} 5`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(w.Body.String(), "unknown") {
		t.Error("there is a queue that nobody knows")
	}
}

// A master that was upgraded says how often, and one that was not says that.
func TestUpgradesAsMetrics(t *testing.T) {
	for _, c := range []struct {
		master control.Master
		want   string
	}{
		{control.Master{Generation: 1}, "preforkd_generation 1\npreforkd_upgrades_failed_total 0\npreforkd_upgrades_total 0\n"},
		{control.Master{Generation: 4, Upgrades: control.Upgrades{Count: 3, Failed: 2}}, "preforkd_generation 4\npreforkd_upgrades_failed_total 2\npreforkd_upgrades_total 3\n"},
	} {
		w := httptest.NewRecorder()
		Handler(fakeMaster{Master: c.master}, Labels{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		var got string
		for line := range strings.Lines(w.Body.String()) {
			if strings.HasPrefix(line, "preforkd_generation") || strings.HasPrefix(line, "preforkd_upgrades") {
				got += line
			}
		}
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Counters whose labels are known are there before their first event.
func TestCountersBeginAtZero(t *testing.T) {
	m := fakeMaster{Services: []control.Service{
		{Name: "new"}, {Name: "old", RefusedByReason: map[string]uint64{"denied": 3}, FailedByCause: map[string]uint64{"other": 2}},
	}}
	w := httptest.NewRecorder()
	Handler(m, Labels{Reasons: []string{"denied", "rate"}, Causes: []string{"other"}}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`preforkd_connections_refused_total{reason="denied",service="new"} 0`,
		`preforkd_connections_refused_total{reason="rate",service="new"} 0`,
		`preforkd_connections_failed_total{cause="other",service="new"} 0`,
		`preforkd_connections_refused_total{reason="denied",service="old"} 3`,
		`preforkd_connections_refused_total{reason="rate",service="old"} 0`,
		`preforkd_connections_failed_total{cause="other",service="old"} 2`,
	} {
		if !strings.Contains(w.Body.String(), "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
}

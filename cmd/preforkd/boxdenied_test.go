package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// deniedIn returns what an event says that was denied, and which limits were met.
func deniedIn(t *testing.T, e systest.Event) (denied, limit string) {
	t.Helper()
	var fields struct{ Denied, Limit string }
	if err := json.Unmarshal([]byte(e.Line), &fields); err != nil {
		t.Fatalf("%v: %s", err, e.Line)
	}
	return fields.Denied, fields.Limit
}

// The log names the system calls that a box denies where it ends the program for them, or
// lets them go on. To be ended for one is a limit, which metrics count and a source is
// refused for.
func TestDeniedCallIsNamed(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	chroot := systest.Need(t, "chroot")
	for _, want := range []struct{ action, before, denied, limit, signal string }{
		{"kill", ":", "chroot", "denied", "SIGSYS"},
		{"kill", "trap '' SYS", "chroot", "denied", "SIGKILL"},
		{"log", ":", "chroot", "", ""}, // it needs a capability in any case
		{"errno", ":", "", "", ""},
	} {
		t.Run(want.action+" "+want.before, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{Config: single(`program = ["/bin/sh", "-c", "`+want.before+`; exec `+chroot+` / /bin/cat"]`, `stderr = "null"`, `penalty-limits = ["denied"]`,
				`[service.one.box]`, `preset = "basic"`, `system-calls-action = "`+want.action+`"`)}.Start(t)
			m.Boxed = true
			end := m.Dial(t).End(t)
			m.Baseline(t)
			if denied, limit := deniedIn(t, end); denied != want.denied || limit != want.limit || end.Signal != want.signal {
				t.Errorf("want %+v: %s", want, end.Line)
			}
			_, metrics := curl(t, m, "/metrics")
			counted := strings.Contains(metrics, `preforkd_box_limits_total{limit="denied",service="one"} 1`)
			if counted != (want.limit != "") {
				t.Errorf("the metrics count it: %v", counted)
			}
			if want.limit != "" {
				refusedFor(t, m, m.Dial(t), "penalty")
			}
		})
	}
}

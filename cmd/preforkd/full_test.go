package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A service that is full with a client that waits, or that is turned away, says so once,
// in the log, the status and the metrics, and for a check that asks for it; and it says
// when that is over. The plain check is content all along.
func TestFull(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/s"
	for name, c := range map[string]struct {
		config  string
		header  string
		refuses bool
	}{
		"waits":     {single(catting, `max-connections = 1`), "", false},
		"unix":      {"[service.one]\nlisten = [\"unix:" + path + "\"]\nmax-connections = 1\n" + catting + "\n", "", false},
		"a proxy's": {single(catting, `max-connections = 1`, `proxy-protocol = ["127.0.0.0/8"]`), "PROXY UNKNOWN\r\n", false},
		"refuses":   {single(catting, `max-connections = 1`, `overflow = "refuse"`), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configured(t, 1, c.config)
			proxied := m.Dial(t) // is accepted while there is a slot, if it is a proxy's
			if c.header == "" {
				proxied.Close()
				m.WaitIdle(t)
			} else {
				systest.Until(t, "accepted", func() bool { return looked(t, m).Services[0].Live == 1 }, nil)
			}
			holder := m.Dial(t)
			holder.Send(t, c.header)
			holder.Echo(t, "hello")
			if s := looked(t, m).Services[0]; s.FullSince != nil || s.FullSeconds != 0 {
				t.Errorf("full before anybody waits: %+v", s)
			}
			told(t, m, "status", "--check-full")
			waiting := proxied
			switch {
			case c.refuses:
				m.Dial(t).ExpectGone(t)
			case c.header == "":
				waiting = m.Dial(t)
			}
			if !c.refuses {
				waiting.Send(t, c.header+"I wait")
			}

			e := m.WaitFor(t, systest.Is("full"))
			if e.Level != "warn" || e.Service != "one" || !strings.Contains(e.Line, `"slots":1`) || strings.Contains(e.Line, `"waiting":1`) == c.refuses {
				t.Errorf("%s", e.Line)
			}
			if s := looked(t, m).Services[0]; s.FullSince == nil || s.State != "serving" {
				t.Errorf("%+v", s)
			}
			if got := told(t, m, "status"); !strings.Contains(got, " full ") {
				t.Errorf("the status does not say so:\n%s", got)
			}
			told(t, m, "status", "--check")
			told(t, m, "status", "--check-full=1h")
			for _, args := range [][]string{{"status", "--check-full"}, {"status", "--check", "--check-full=1ms"}} {
				if r := ran(t, m, args...); r.Code != 1 || !strings.HasPrefix(r.Stdout, "degraded: service one: full for ") {
					t.Errorf("%v: %+v", args, r)
				}
			}
			_, text := curl(t, m, "/metrics")
			if got := scraped(t, text); got[`preforkd_full{service="one"}`] != 1 || got[`preforkd_full_seconds_total{service="one"}`] <= 0 {
				t.Errorf("the metrics have %v for %v seconds", got[`preforkd_full{service="one"}`], got[`preforkd_full_seconds_total{service="one"}`])
			}

			holder.Close()
			if !c.refuses {
				waiting.Expect(t, "I wait")
			}
			over := m.WaitFor(t, systest.Is("no longer full"))
			if over.Level != "info" || over.Service != "one" || over.Duration == nil || *over.Duration <= 0 {
				t.Errorf("%s", over.Line)
			}
			waiting.Close()
			m.WaitIdle(t)
			told(t, m, "status", "--check-full")
			s := looked(t, m).Services[0]
			if s.FullSince != nil || s.FullSeconds <= 0 {
				t.Errorf("%+v", s)
			}
			// The next one comes too soon to be told.
			if n := len(m.Events(systest.Is("full"))); n != 1 {
				t.Errorf("%d times full", n)
			}
		})
	}
}

// A master that stops while a service is full says that this is over, before its end. A
// stop waits for nobody who looks.
func TestStopWhileFull(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `max-connections = 1`))
	holder := m.Dial(t)
	holder.Echo(t, "hello")
	m.Dial(t)
	m.WaitFor(t, systest.Is("full"))
	m.StopSignal = syscall.SIGQUIT
	m.Stop(t)
	m.WaitLogEnd(t)
	events := m.Events(anyEvent)
	if last := events[len(events)-1]; last.Msg != systest.Stopped {
		t.Errorf("the last line is %s", last.Line)
	}
	if n := len(m.Events(systest.Is("no longer full"))); n != 1 {
		t.Errorf("it ended %d times", n)
	}
}

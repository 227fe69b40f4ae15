package admit

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The log is told of the beginning and the end of a congestion, at most one pair in
// each interval, and of how many others there were; of one that lasts in any case.
func TestCongestion(t *testing.T) {
	for name, c := range map[string]struct {
		states string // one for each second: full or not
		want   string
	}{
		"never full":       {"......", ""},
		"full once":        {"..###...", "2 began; 5 ended after 3s"},
		"full all along":   {strings.Repeat("#", 200), "0 began"},
		"short ones":       {"#.#.#.#." + strings.Repeat(".", 60), "0 began; 1 ended after 1s; 60 ended after 0s, 3 others"},
		"the second lasts": {"#..." + strings.Repeat("#", 100) + ".", "0 began; 1 ended after 1s; 60 began after 56s; 104 ended after 1m40s"},
		"two far apart":    {"##." + strings.Repeat(".", 60) + "##.", "0 began; 2 ended after 2s; 63 began; 65 ended after 2s"},
		"flaps for ever": {strings.Repeat("#.", 90),
			"0 began; 1 ended after 1s; 60 began, 29 others; 61 ended after 1s; 120 began, 29 others; 121 ended after 1s"},
		"flaps, then lasts": {"#.#.#." + strings.Repeat("#", 70) + ".", "0 began; 1 ended after 1s; 60 began after 54s, 2 others; 76 ended after 1m10s"},
	} {
		t.Run(name, func(t *testing.T) {
			var l Congestion
			var got []string
			full := 0
			for second, state := range c.states {
				n := l.Observe(state == '#', epoch.Add(time.Duration(second)*time.Second))
				line := ""
				switch {
				case n.Began && n.Duration > 0:
					line = fmt.Sprintf("%d began after %v", second, n.Duration)
				case n.Began:
					line = fmt.Sprintf("%d began", second)
				case n.Ended:
					line = fmt.Sprintf("%d ended after %v", second, n.Duration)
				}
				if n.Suppressed > 0 {
					line += fmt.Sprintf(", %d others", n.Suppressed)
				}
				if line != "" {
					got = append(got, line)
				}
				if state == '#' {
					full++
				}
			}
			if got := strings.Join(got, "; "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			end := epoch.Add(time.Duration(len(c.states)) * time.Second)
			since, total := l.State(end)
			if total != time.Duration(full)*time.Second || since.IsZero() == strings.HasSuffix(c.states, "#") {
				t.Errorf("full since %v, %v altogether, want %d s", since, total, full)
			}
			if strings.HasSuffix(c.states, "#") && l.Settled() {
				t.Error("it is settled while it is full")
			}
		})
	}
}

// Those that the log has not told of are told of later, and until then it is not
// settled.
func TestCongestionIsSettled(t *testing.T) {
	var l Congestion
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	l.Observe(true, at(0))
	l.Observe(false, at(1))
	if !l.Settled() {
		t.Error("there is nothing to tell, and it is not settled")
	}
	l.Observe(true, at(2))
	l.Observe(false, at(3))
	if l.Settled() {
		t.Error("it is settled, and there is one to tell of")
	}
	if n := l.Observe(false, at(60)); !n.Ended || n.Suppressed != 1 || !l.Settled() {
		t.Errorf("%+v", n)
	}
}

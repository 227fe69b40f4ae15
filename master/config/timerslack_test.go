package config

import (
	"strings"
	"testing"
	"time"
)

// What is printed is what was meant, in ASCII, down to the last nanosecond.
func TestTimerSlackRoundTrips(t *testing.T) {
	for text, want := range map[string]struct {
		slack   time.Duration
		printed string
	}{
		"auto":       {0, "auto"},
		"1ns":        {1, "1ns"},
		"999ns":      {999, "999ns"},
		"1us":        {time.Microsecond, "1us"},
		"1µs":        {time.Microsecond, "1us"},
		"1.001us":    {1001, "1.001us"},
		"200us":      {200 * time.Microsecond, "200us"},
		"50000ns":    {50 * time.Microsecond, "50us"},
		"1.234567ms": {1234567, "1.234567ms"},
		"1s":         {time.Second, "1s"},
	} {
		configuration := "[service.a]\nlisten = [':1']\nprogram = ['/bin/cat']\ntimer-slack = '" + text + "'\n"
		for range 2 {
			parsed, err := Parse("f", []byte(configuration), Run{})
			if err != nil {
				t.Fatal(err)
			}
			if got := parsed.Services[0].TimerSlack; got != want.slack {
				t.Errorf("%s: a slack of %v, want %v", text, got, want.slack)
			}
			configuration = parsed.TOML()
			printed := false
			for line := range strings.Lines(configuration) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				printed = printed || strings.TrimSpace(key) == "timer-slack" && strings.TrimSpace(value) == `"`+want.printed+`"`
			}
			if !printed {
				t.Errorf("%s is not printed as %s:\n%s", text, want.printed, configuration)
			}
		}
	}
}

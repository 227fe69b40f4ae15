package config

import (
	"fmt"
	"strings"
	"time"
)

const (
	// autoSlack is the timer slack that depends on what runs, and is the Duration 0.
	// prctl(2) takes no such slack either.
	autoSlack = "auto"
	// maxTimerSlack is more than anybody waits for. The kernel has no limit.
	maxTimerSlack = time.Second
)

// parseTimerSlack parses a duration, or the word auto.
func parseTimerSlack(s string) (time.Duration, error) {
	if s == autoSlack {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > maxTimerSlack {
		return 0, fmt.Errorf(`must be a duration from "1ns" to "1s", such as "200us", or %s`, autoSlack)
	}
	return d, nil
}

// formatTimerSlack writes microseconds as they are typed.
func formatTimerSlack(d time.Duration) string {
	if d == 0 {
		return autoSlack
	}
	return strings.Replace(d.String(), "µ", "u", 1)
}

package systemdtest

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// notifications has systemd log every message that services send it.
func (s *service) notifications(t *testing.T) {
	t.Helper()
	s.systemctl(t, "log-level", "debug")
	t.Cleanup(func() { s.Run(context.Background(), "systemctl", "log-level", "info") })
}

// "preforkd.service: Got notification message from PID 96 (READY=1, STATUS=...)"
var notification = regexp.MustCompile(`Got notification message from PID \d+ \((.*)\)`)

// notified waits until systemd has been sent messages, in this order, among
// others. Of a message a test gives the beginnings of some of its variables.
func (s *service) notified(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	until(t, fmt.Sprintf("systemd was sent %q in this order", want), func() bool {
		got = nil
		for _, e := range s.journal(t, "_PID=1", "UNIT="+unit) {
			if m := notification.FindStringSubmatch(e["MESSAGE"]); m != nil {
				got = append(got, m[1])
			}
		}
		next := 0
		for _, message := range got {
			if next < len(want) && matches(message, strings.Fields(want[next])) {
				next++
			}
		}
		return next == len(want)
	}, func() string { return strings.Join(got, "\n") })
}

func matches(message string, variables []string) bool {
	for _, variable := range variables {
		found := false
		for _, assignment := range strings.Split(message, ", ") {
			found = found || strings.HasPrefix(assignment, variable)
		}
		if !found {
			return false
		}
	}
	return true
}

// What systemd is told in the life of a service, and in which order.
func TestNotifications(t *testing.T) {
	s := setup(t, cat, map[string]string{unit: "[Service]\nWatchdogSec=2s\n"})
	s.notifications(t)
	s.start(t)
	s.notified(t, "READY=1", "WATCHDOG=1")
	s.notified(t, "FDSTORE=1 FDNAME=stored.")
	s.systemctl(t, "stop", unit)
	s.notified(t, "READY=1", "STOPPING=1")
}

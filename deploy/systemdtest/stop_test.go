package systemdtest

import (
	"io"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A stop lets a transfer finish, though it takes longer than TimeoutStopSec:
// systemd is told that it goes on.
func TestDrain(t *testing.T) {
	s := setup(t, "[master]\ndrain-timeout = \"10m\"\n"+cat, map[string]string{unit: "[Service]\nTimeoutStopSec=3s\n"})
	s.notifications(t)
	s.start(t)
	c := s.dial(t)
	c.echo(t, "before")
	s.systemctl(t, "stop", "--no-block", unit)
	s.is(t, "SubState", "stop-sigterm")
	s.notified(t, "STOPPING=1", "EXTEND_TIMEOUT_USEC=")

	begin, err := strconv.ParseInt(s.show(t, "StateChangeTimestampMonotonic"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "twice TimeoutStopSec is over", func() bool {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		c.echo(t, strings.Repeat("the transfer goes on\n", 100))
		return now.Nano()/1000 > begin+6_000_000
	}, nil)

	c.echo(t, "the last")
	if err := c.closeWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.rest(t); got != "" {
		t.Errorf("%q follows", got)
	}
	s.is(t, "ActiveState", "inactive")
	if result, status := s.show(t, "Result"), s.show(t, "ExecMainStatus"); result != "success" || status != "0" {
		t.Errorf("the service ended with %s, %s", result, status)
	}
}

// A connection that does not end is ended, within TimeoutStopSec as it is in
// the unit, and by the master: systemd has nothing left to kill.
func TestDrainEnds(t *testing.T) {
	s := setup(t, `
[master]
drain-timeout = "1s"
kill-delay    = "1s"

[service.echo]
listen  = ["127.0.0.1:7007"]
program = ["/bin/sh", "-c", "trap '' TERM; cat; cat"]
`, nil)
	s.start(t)
	c := s.dial(t)
	c.echo(t, "hello")
	s.systemctl(t, "stop", unit)
	io.Copy(io.Discard, c) // ends, in order or not
	if result, status := s.show(t, "Result"), s.show(t, "ExecMainStatus"); result != "success" || status != "0" {
		t.Errorf("the service ended with %s, %s", result, status)
	}
	for _, e := range s.journal(t, "_PID=1", "UNIT="+unit) {
		if strings.Contains(e["MESSAGE"], "SIGKILL") || strings.Contains(e["MESSAGE"], "timed out") {
			t.Errorf("systemd had to help: %s", e["MESSAGE"])
		}
	}
}

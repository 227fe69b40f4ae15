package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Who has how many processors, for each way in which a worker starts: a built-in handler
// has one, a program what it decides by itself, and both what the configuration says.
func TestProcessorsOfWorkers(t *testing.T) {
	t.Parallel()
	testworker := systest.Program(t, "cmd/internal/systest/testworker")
	for name, c := range map[string]struct {
		args string
		want string // of GOMAXPROCS; "" where it is not set
	}{
		"handler":                {"echo", "1"},
		"handler, without a box": {"--box-preset none echo", "1"},
		"spare handler":          {"--spares 1 echo", "1"},
		"handler with four":      {"--worker-processors 4 echo", "4"},
		"handler, by env":        {"--env GOMAXPROCS=3 echo", "3"},
		"wrapped handler":        {"--wrap env echo", "1"},
		"stdio":                  {"-- cat", ""},
		"stdio, two":             {"--worker-processors 2 -- cat", "2"},
		"spare stdio":            {"--spares 1 -- cat", ""},
		"spare stdio, two":       {"--spares 1 --worker-processors 2 -- cat", "2"},
		"stdio, auto":            {"--worker-processors auto -- cat", ""},
		"SDK":                    {"--handoff worker -- " + testworker + " lines", ""},
		"SDK, two":               {"--handoff worker --worker-processors 2 -- " + testworker + " lines", "2"},
		"spare SDK, two":         {"--spares 1 --handoff worker --worker-processors 2 -- " + testworker + " lines", "2"},
		"systemd, two":           {"--handoff systemd --worker-processors 2 -- sleep 1000", "2"},
		"in a box":               {"--box-preset basic -- cat", ""},
		"in a box, two":          {"--box-preset basic --worker-processors 2 -- cat", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What the master itself has is not for workers.
			m := systest.Options{Env: []string{"GOMAXPROCS=2"}, Args: strings.Fields(c.args)}.Start(t)
			m.StopSignal = syscall.SIGQUIT
			if m.Spares > 0 {
				m.WaitSpares(t, m.Spares)
			}
			pid := m.Dial(t).Worker(t)
			systest.Until(t, "an environment", func() bool { return systest.Getenv(pid, "PREFORKD_SERVICE") != "" || !systest.Alive(pid) }, nil)
			if got := systest.Getenv(pid, "GOMAXPROCS"); got != c.want {
				t.Errorf("GOMAXPROCS=%q, want %q", got, c.want)
			}
		})
	}
}

// A rule's env is about some clients only, and so wins over what the service says.
func TestProcessorsOfARule(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, "worker-processors = 2", "[[service.one.rule]]", `from = ["127.0.0.1"]`, `env = ["GOMAXPROCS=5"]`))
	pid := m.Dial(t).Worker(t)
	environment(t, pid)
	if got := systest.Getenv(pid, "GOMAXPROCS"); got != "5" {
		t.Errorf("GOMAXPROCS=%q, want 5", got)
	}
}

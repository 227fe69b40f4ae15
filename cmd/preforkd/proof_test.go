package main

import (
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What a worker says instead of that it is ready is told, and at once.
func TestProofOfRogues(t *testing.T) {
	t.Parallel()
	for _, spares := range []string{"0", "1"} {
		s := systest.NewSupervisor(t)
		r := systest.Options{Env: []string{s.Env()}}.Run(t, "serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--control", "none",
			"--handoff", "worker", "--spares", spares, "--", systest.Program(t, "cmd/internal/systest/badworker"), "-", "garbage", "hang")
		if r.Code != exitFailure || !strings.Contains(r.Stderr, `"msg":"not started","error":"service badworker: no worker can be started: `) ||
			!strings.Contains(r.Stderr, "malformed") || strings.Contains(r.Stderr, "overdue") {
			t.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
	}
}

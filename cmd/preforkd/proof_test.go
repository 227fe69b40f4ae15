package main

import (
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/rig"
)

// What a worker says instead of that it is ready is told, and at once.
func TestProofOfRogues(t *testing.T) {
	t.Parallel()
	for _, spares := range []string{"0", "1"} {
		s := rig.NewSupervisor(t)
		r := rig.Options{Env: []string{s.Env()}}.Run(t, "serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--control", "none",
			"--handoff", "worker", "--spares", spares, "--", rig.Program(t, "cmd/internal/rig/badworker"), "-", "garbage", "hang")
		if r.Code != exitFailure || !strings.Contains(r.Stderr, `"msg":"not started","error":"service badworker: no worker can be started: `) ||
			!strings.Contains(r.Stderr, "malformed") || strings.Contains(r.Stderr, "overdue") {
			t.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
	}
}

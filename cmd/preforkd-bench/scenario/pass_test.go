package scenario

import (
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
	"github.com/preforkd/preforkd/ipc/needtest"
)

// More clients than there are workers wait their turn, and none is lost.
func TestBaselineFDPassServesMoreThanItsPool(t *testing.T) {
	needtest.Program(t, "gcc")
	children, err := proc.Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	// A preforkd that does not exist saves building one.
	build, err := server.Compile(t.Context(), children, t.TempDir(), "/nonexistent", server.Libc)
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := server.Select([]string{"baseline-fdpass", "baseline-fdpass-go"})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range definitions {
		t.Run(d.Name, func(t *testing.T) { passes(t, Run{Build: build, Children: children, Dir: t.TempDir()}, d) })
	}
}

// passes has a server of 16 workers serve 50 clients.
func passes(t *testing.T, run Run, d server.Definition) {
	t.Helper()
	s, stop, err := run.start(t.Context(), server.Server{Definition: d}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	r, err := load.Closed(t.Context(), s.addr, 50, 1000, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r.Done != 1000 || r.Failed() != 0 {
		t.Errorf("done %d of 1000, errors %v", r.Done, r.Errors)
	}
	if err := s.server.Alive(); err != nil {
		t.Error(err)
	}
}

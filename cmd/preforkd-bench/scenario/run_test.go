package scenario

import (
	"context"
	"errors"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// A server that cannot start is recorded in every round and ends nothing.
func TestProblemsAreRecorded(t *testing.T) {
	children, err := proc.Adopt()
	if err != nil {
		t.Fatal(err)
	}
	defer children.Close()
	broken := func(name string, left map[string]string) server.Server {
		return server.Server{Definition: server.Definition{
			Name: name, Except: left,
			Command: func(server.Site) ([]string, error) { return nil, errors.New("no such thing") },
		}}
	}
	scenarios, err := Select([]string{"closed1", "bulk"})
	if err != nil {
		t.Fatal(err)
	}
	plan := Short()
	plan.Rounds = 2
	run := Run{
		Plan: plan, Scenarios: scenarios, Children: children, Dir: t.TempDir(),
		Servers:  []server.Server{broken("a", nil), broken("tcpserver", map[string]string{"bulk": "it cannot"})},
		Progress: t.Logf,
	}
	var record result.Record
	if err := run.Execute(t.Context(), &record); err != nil {
		t.Fatal(err)
	}
	if got := record.Errors("closed1", "a")["no such thing"]; got != 2 {
		t.Errorf("%d problems recorded, want one for each round", got)
	}
	reasons := make(map[string]string)
	for _, m := range record.Missing {
		reasons[m.Server] = m.Reason
	}
	if reasons["a"] != "not in the short form" || reasons["tcpserver"] != "it cannot" {
		t.Errorf("left out: %v", reasons)
	}
	// Each round begins with another server.
	if first, second := record.Measurements[0], record.Measurements[2]; first.Server == second.Server {
		t.Errorf("%s begins round %d and round %d", first.Server, first.Round, second.Round)
	}
}

func TestOnlySomeServersOfAScenario(t *testing.T) {
	broken := func(server.Site) ([]string, error) { return nil, errors.New("no such thing") }
	scenarios, err := Select([]string{"closed1", "bulk"})
	if err != nil {
		t.Fatal(err)
	}
	plan := Short()
	plan.Rounds = 1
	run := Run{
		Plan: plan, Scenarios: scenarios, Dir: t.TempDir(), Progress: t.Logf,
		Servers: []server.Server{
			{Definition: server.Definition{Name: "a", Command: broken}},
			{Definition: server.Definition{Name: "b", Command: broken}},
		},
		Only: func(scenario string) []string { return map[string][]string{"closed1": {"b"}}[scenario] },
	}
	var record result.Record
	if err := run.Execute(t.Context(), &record); err != nil {
		t.Fatal(err)
	}
	if m := record.Measurements; len(m) != 1 || m[0].Scenario != "closed1" || m[0].Server != "b" {
		t.Errorf("measured %+v, want b in closed1 alone", m)
	}
}

func TestCancelEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	run := Run{Plan: Short(), Scenarios: All, Progress: t.Logf, Dir: t.TempDir(), Servers: []server.Server{{
		Definition: server.Definition{Name: "a", Command: func(server.Site) ([]string, error) { return nil, errors.New("x") }},
	}}}
	if err := run.Execute(ctx, &result.Record{}); !errors.Is(err, stop) {
		t.Errorf("error %v, want %v", err, stop)
	}
}

func TestPlansAreValid(t *testing.T) {
	for _, p := range []Plan{Full(), Short()} {
		if err := p.Check(20000); err != nil {
			t.Error(err)
		}
		if p.Rounds < 5 {
			t.Errorf("%d rounds: too few for a median", p.Rounds)
		}
	}
}

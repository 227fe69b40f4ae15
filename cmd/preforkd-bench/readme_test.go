package main

import (
	"os"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/goal"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/show"
)

// What the document says of other servers is what was measured.
func TestDocumentShowsTheKeptRuns(t *testing.T) {
	readme, err := os.ReadFile("../../deploy/doc/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	goals, err := kept("runs/goals.json")
	if err != nil {
		t.Fatal(err)
	}
	servers, err := kept("runs/servers.json")
	if err != nil {
		t.Fatal(err)
	}
	for command, table := range map[string]string{
		"markdown --goals runs/goals.json": show.GoalTable(goal.Judge(goals)),
		"markdown runs/servers.json":       show.ServerTable(servers),
	} {
		if !strings.Contains(string(readme), table) {
			t.Errorf("benchmarks.md has not what preforkd-bench %s prints:\n%s", command, table)
		}
	}
	chart, err := os.ReadFile("runs/servers.svg")
	if err != nil {
		t.Fatal(err)
	}
	if string(chart) != show.Chart(servers) {
		t.Error("runs/servers.svg is not what preforkd-bench chart runs/servers.json draws")
	}
}

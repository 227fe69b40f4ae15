package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/counts"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/report"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

func newCheck() *cobra.Command {
	o := options{short: true, targets: result.Bounds, echo: "libc"}
	var attempts int
	var file string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Exit 1 when preforkd does more for a connection than was recorded, or is much slower than a baseline",
		Long: `check is the guard of speed. It has two parts.

First it counts what the master does for a connection, as the command counts
does, and compares that with the recorded numbers. This finds small losses, and
does not depend on how fast the machine is.

Then it measures preforkd and a baseline that starts the same programs in the
same way, in turn, and compares the ratios with loose bounds. This finds a loss
of a factor that shows in no count, such as a sleep. What is worse than its
bound is measured again, and fails when it is worse in every attempt.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(checkCounts(cmd.Context(), cmd.OutOrStdout(), o.preforkd, file, nil, counts.Conditions{}), checkRatios(cmd.Context(), o, attempts))
		},
	}
	f := cmd.Flags()
	preforkdFlag(f, &o.preforkd)
	fileFlag(f, &file)
	f.IntVar(&attempts, "attempts", 3, "how often ratios are measured before one that is worse than its bound fails")
	f.StringVar(&o.json, "json", "", "keep the first attempt's results in this file")
	return cmd
}

// checkRatios measures the ratios that have bounds. Those that miss theirs are
// measured again, alone.
func checkRatios(ctx context.Context, o options, attempts int) error {
	if os.Geteuid() != 0 {
		progress("box: left out: only root can have a strict box")
		o.targets = slices.DeleteFunc(slices.Clone(o.targets), func(t result.Target) bool { return t.Scenario == "box" })
	}
	for attempt := 1; ; attempt++ {
		o.scenarios = scenariosOf(o.targets)
		record, err := measure(ctx, o)
		if err != nil {
			return err
		}
		o.json = ""
		evaluations := result.Evaluate(record, o.targets)
		if line := report.Primitives(record.Primitives); line != "" {
			fmt.Println(line)
		}
		fmt.Print(report.Targets(fmt.Sprintf("ratios to baselines, attempt %d", attempt), evaluations))
		for _, m := range record.Missing {
			fmt.Printf("  %s: left out: %s\n", m.Server, m.Reason)
		}
		if err := result.Check(evaluations); err == nil || attempt >= attempts {
			return err
		}
		o.targets = nil
		for _, e := range evaluations {
			if !e.Met || len(e.Failed) > 0 {
				o.targets = append(o.targets, e.Target)
			}
		}
	}
}

func scenariosOf(targets []result.Target) []string {
	var names []string
	for _, t := range targets {
		if !slices.Contains(names, t.Scenario) {
			names = append(names, t.Scenario)
		}
	}
	return names
}

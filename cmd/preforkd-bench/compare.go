package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/primitive"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/report"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/scenario"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/unit"
)

// options are the flags of a run. Zero means what the plan says.
type options struct {
	short     bool
	targets   []result.Target // if not nil, only what they compare
	json      string
	peer      string
	preforkd  string
	echo      string
	servers   []string
	scenarios []string
	rounds    int
	duration  time.Duration
	load      float64
	rate      float64
	idle      int
	services  []int
	notes     []string
}

func newCompare() *cobra.Command {
	var o options
	var targets bool
	cmd := &cobra.Command{
		Use:   "preforkd-bench",
		Short: "Compare preforkd with other servers, side by side",
		Long: `preforkd-bench starts each server in turn on 127.0.0.1, loads it, measures it
and stops it; then it begins another round with the next server first. It
prints medians with quartiles, and ratios to one peer.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if targets {
				o.targets = result.Targets
			}
			return compare(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.short, "short", false, "under two minutes: short loads, fewer servers in some scenarios")
	f.BoolVar(&targets, "targets", false, "only what targets compare: their scenarios, and in each its servers")
	f.StringVar(&o.json, "json", "", "keep the results in this file")
	f.StringVar(&o.peer, "peer", "tcpserver", "server that ratios are taken to")
	f.StringVar(&o.preforkd, "preforkd", "", "path of preforkd, preforkd-worker next to it (built from the module here when not given)")
	f.StringVar(&o.echo, "echo", "libc", "the C echo that servers start: libc, or musl and bare, which spare every server what glibc does before main")
	f.StringSliceVar(&o.servers, "servers", nil, "only these servers")
	f.StringSliceVar(&o.scenarios, "scenarios", nil, "only these scenarios")
	f.IntVar(&o.rounds, "rounds", 0, "how often loads are repeated (idle and growth have their own number)")
	f.DurationVar(&o.duration, "duration", 0, "length of a closed loop and of a stream")
	f.Float64Var(&o.load, "load", 0, "rate of the open loop, as a part of the spawn capacity")
	f.Float64Var(&o.rate, "rate", 0, "rate of the open loop per second, instead of a part")
	f.IntVar(&o.idle, "idle", 0, "number of idle connections")
	f.StringArrayVar(&o.notes, "note", nil, "keep this with the results: what their readers must know of this machine and its servers")
	f.IntSliceVar(&o.services, "services", nil, "numbers of services of one master")
	return cmd
}

// plan returns the plan that the flags ask for.
func (o options) plan() (scenario.Plan, error) {
	p := scenario.Full()
	if o.short {
		p = scenario.Short()
	}
	if o.rounds != 0 {
		p.Rounds = o.rounds
		p.IdleRounds, p.GrowthRounds = min(p.IdleRounds, o.rounds), min(p.GrowthRounds, o.rounds)
		p.BoxRounds = o.rounds
		p.ServiceRounds, p.RefusalRounds = min(p.ServiceRounds, o.rounds), min(p.RefusalRounds, o.rounds)
	}
	if o.duration != 0 {
		p.Duration = o.duration
	}
	if o.load != 0 {
		p.Load = o.load
	}
	if o.rate != 0 {
		p.Rate = o.rate
	}
	if o.idle != 0 {
		p.Idle = o.idle
	}
	if len(o.services) > 0 {
		p.Services = o.services
	}
	limit, err := load.Limit()
	if err != nil {
		return p, err
	}
	if err := p.Check(limit); err != nil {
		return p, usageError{err}
	}
	return p, nil
}

// compare is a whole run: it measures, keeps the results and prints them.
func compare(ctx context.Context, o options) error {
	if !slices.Contains(server.Names(), o.peer) {
		return usageError{fmt.Errorf("peer %q: no such server", o.peer)}
	}
	record, err := measure(ctx, o)
	if err != nil {
		return err
	}
	fmt.Print(report.Text(record, o.peer))
	return nil
}

// measure runs what the options ask for, and keeps the results in a file if
// they name one. Everything it starts and every file it writes apart from the
// results is gone when it returns.
func measure(ctx context.Context, o options) (_ *result.Record, err error) {
	plan, err := o.plan()
	if err != nil {
		return nil, err
	}
	scenarios, err := scenario.Select(o.scenarios)
	if err != nil {
		return nil, usageError{err}
	}
	if o.short && len(o.scenarios) == 0 {
		// These mean little with few connections, services and rules.
		scenarios = slices.DeleteFunc(slices.Clone(scenarios), func(s scenario.Scenario) bool {
			return slices.Contains([]string{"growth", "services", "refusals"}, s.Name)
		})
	}
	definitions, err := server.Select(o.servers)
	if err != nil {
		return nil, usageError{err}
	}
	if o.targets != nil {
		scenarios = slices.DeleteFunc(slices.Clone(scenarios), func(s scenario.Scenario) bool { return len(result.Servers(o.targets, s.Name)) == 0 })
		definitions = slices.DeleteFunc(slices.Clone(definitions), func(d server.Definition) bool {
			return !slices.ContainsFunc(scenarios, func(s scenario.Scenario) bool { return slices.Contains(result.Servers(o.targets, s.Name), d.Name) })
		})
	}
	if _, ok := server.Echoes[server.Echo(o.echo)]; !ok {
		return nil, usageError{fmt.Errorf("echo %q: want libc, musl or bare", o.echo)}
	}
	var keep *os.File
	if o.json != "" {
		// Now, and not after minutes of measuring.
		if keep, err = os.Create(o.json); err != nil {
			return nil, fmt.Errorf("keep results: %w", err)
		}
		defer keep.Close()
	}

	children, err := proc.Adopt()
	if err != nil {
		return nil, err
	}
	defer children.Close()
	dir, err := os.MkdirTemp("", "preforkd-bench-")
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	defer os.RemoveAll(dir)

	record := &result.Record{Format: result.Format, Started: time.Now(), Machine: result.ThisMachine(), Short: o.short, Echo: o.echo}
	record.Notes = append(notes(plan, scenarios, record.Machine), o.notes...)
	for _, note := range record.Notes {
		progress("note: %s", note)
	}
	progress("building")
	build, err := server.Compile(ctx, children, dir, o.preforkd, server.Echo(o.echo))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, build.Close()) }()
	if record.Primitives, err = primitive.Measure(ctx, children, build); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		record.Notes = append(record.Notes, err.Error())
		progress("note: %v", err)
	} else {
		progress("%s", report.Primitives(record.Primitives))
	}
	units := unit.New(children, progress)
	defer func() { err = errors.Join(err, units.Close()) }()
	run := &scenario.Run{
		Plan: plan, Scenarios: scenarios, Build: build, Children: children, Units: units, Dir: dir,
		Named: len(o.servers) > 0, Progress: progress,
	}
	if o.targets != nil {
		run.Only = func(scenario string) []string { return result.Servers(o.targets, scenario) }
	}
	for _, d := range definitions {
		if o.short && d.Variant && len(o.servers) == 0 && o.targets == nil {
			record.Missing = append(record.Missing, result.Missing{Server: d.Name, Reason: "not in the short form"})
			continue
		}
		s, err := server.Find(ctx, children, build, d)
		if err != nil {
			record.Missing = append(record.Missing, result.Missing{Server: d.Name, Reason: err.Error()})
			continue
		}
		run.Servers = append(run.Servers, s)
		record.Servers = append(record.Servers, result.Server{
			Name: s.Name, Class: string(s.Class), About: s.About, Version: s.Version,
		})
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := run.Execute(ctx, record); err != nil {
		return nil, err
	}
	record.Seconds = time.Since(record.Started).Seconds()
	if keep != nil {
		if err := record.Write(keep); err != nil {
			return nil, err
		}
		if err := keep.Close(); err != nil {
			return nil, fmt.Errorf("keep results: %w", err)
		}
	}
	return record, nil
}

// threadsPerWorker is what a Go program that serves one connection has, with
// Go's own choice of how many threads run its code.
const threadsPerWorker = 4

// notes says what of this machine will show in the numbers.
func notes(p scenario.Plan, scenarios []scenario.Scenario, m result.Machine) []string {
	many := slices.ContainsFunc(scenarios, func(s scenario.Scenario) bool { return s.Name == "idle" || s.Name == "growth" })
	if many && m.PIDs > 0 && p.Idle*threadsPerWorker > m.PIDs {
		return []string{fmt.Sprintf("kernel.pid_max is %d and counts threads: %d Go workers of %d threads each cannot all exist here",
			m.PIDs, p.Idle, threadsPerWorker)}
	}
	return nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

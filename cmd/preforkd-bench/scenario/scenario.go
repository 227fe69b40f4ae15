package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// A Scenario is one kind of load.
type Scenario struct {
	Name   string
	About  string
	Shows  []result.Metric // in the order of the table
	rounds func(*Plan) int
	run    func(context.Context, *Plan, *subject) (result.Measurement, error)

	// short lists the servers of the short form; nil means all.
	short []string
}

// A subject is a running server and what is known about it.
type subject struct {
	server running
	port   int
}

// running is a server that has been started: processes of the benchmark's
// (proc.Server), or a unit of a systemd (unit.Server).
type running interface {
	Settle(ctx context.Context, live int)
	Shrink() func(open int)
	Cost() (proc.Cost, error)
	Memory() (proc.Memory, error)
	Alive() error
	Stop()
}

var costs = []result.Metric{result.CPU, result.CPUMaster, result.CPUWorkers, result.CPUMachine}

// All holds the scenarios in the order they run.
var All = []Scenario{
	{
		Name:   "closed1",
		About:  "closed loop, 1 client: connect, send, receive the echo, close",
		Shows:  append([]result.Metric{result.LatencyP50, result.Rate, result.LatencyP99}, costs...),
		rounds: func(p *Plan) int { return p.Rounds },
		run:    closed(1),
	},
	{
		Name:   "closed16",
		About:  "closed loop, 16 clients",
		Shows:  append([]result.Metric{result.Rate, result.CPU, result.CPUMaster, result.CPUWorkers, result.CPUMachine}, result.LatencyP50, result.LatencyP99),
		rounds: func(p *Plan) int { return p.Rounds },
		run:    closed(16),
	},
	{
		Name:   "open",
		About:  "open loop at a fixed rate, latency from the moment each connection was due",
		Shows:  []result.Metric{result.LatencyP50, result.LatencyP99, result.LatencyMax, result.LagP99, result.Offered, result.Rate, result.CPU},
		rounds: func(p *Plan) int { return p.Rounds },
		run:    open,
		short:  []string{"preforkd-stdio", "preforkd-echo", "preforkd-spares", "tcpserver", "fork-c"},
	},
	{
		Name:   "bulk",
		About:  "one connection, as many bytes as go through",
		Shows:  []result.Metric{result.Throughput, result.CPUPerGiB},
		rounds: func(p *Plan) int { return p.Rounds },
		run:    bulk,
		short:  []string{"preforkd-stdio", "preforkd-echo", "tcpserver", "socat", "fork-c"},
	},
	{
		Name:   "idle",
		About:  "connections that are open at once and do nothing",
		Shows:  []result.Metric{result.Memory, result.MemoryMaster, result.MemorySystem, result.Served, result.Lost, result.Rate},
		rounds: func(p *Plan) int { return p.IdleRounds },
		run:    idle,
	},
	{
		Name:   "growth",
		About:  "the master's CPU per connection while few and many others are open",
		Shows:  []result.Metric{result.MasterGrowth, result.MasterFew, result.MasterMany},
		rounds: func(p *Plan) int { return p.GrowthRounds },
		run:    growth,
	},
	{
		Name:   "spawn",
		About:  "the spawn baseline: vfork, exec, exit, wait, one after the other, no server",
		Shows:  []result.Metric{result.SpawnWall, result.SpawnCPU},
		rounds: func(p *Plan) int { return p.Rounds },
	},
}

// Select returns the scenarios with the given names, in the table's order.
func Select(names []string) ([]Scenario, error) {
	var all []string
	var found []Scenario
	for _, s := range All {
		all = append(all, s.Name)
		if slices.Contains(names, s.Name) {
			found = append(found, s)
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("scenario %q: no such scenario; there are %s", name, strings.Join(all, ", "))
		}
	}
	if len(names) == 0 {
		return All, nil
	}
	return found, nil
}

// A Plan says how long and how often.
type Plan struct {
	Rounds       int // of the loops and of the stream
	IdleRounds   int
	GrowthRounds int

	Warmup   time.Duration // before every load
	Duration time.Duration // of a closed loop and of a stream
	Open     time.Duration // of an open loop
	Load     float64       // rate of the open loop, as a part of the spawn capacity
	Rate     float64       // the same per second; measured when 0
	Idle     int           // idle connections
	Growth   int           // connections that growth measures with
	Spawns   int           // of the spawn baseline, for each program
	Short    bool
}

// Full is the plan behind numbers that are published.
func Full() Plan {
	return Plan{
		Rounds: 7, IdleRounds: 1, GrowthRounds: 3,
		Warmup: 200 * time.Millisecond, Duration: 1500 * time.Millisecond, Open: 2 * time.Second,
		Load: 0.3, Idle: 10000, Growth: 1000, Spawns: 500,
	}
}

// Short is the plan for every day: under two minutes.
func Short() Plan {
	return Plan{
		Rounds: 5, IdleRounds: 1, GrowthRounds: 1,
		Warmup: 50 * time.Millisecond, Duration: 250 * time.Millisecond, Open: 400 * time.Millisecond,
		Load: 0.3, Idle: 300, Growth: 200, Spawns: 100, Short: true,
	}
}

// Check refuses what cannot be run.
func (p *Plan) Check(limit int) error {
	switch {
	case p.Rounds < 1 || p.Rounds > 100:
		return fmt.Errorf("%d rounds: want 1 to 100", p.Rounds)
	case p.Duration < 10*time.Millisecond || p.Duration > time.Minute:
		return fmt.Errorf("duration %v: want 10ms to 1m", p.Duration)
	case p.Load <= 0 || p.Load > 1:
		return fmt.Errorf("load %v: want a part of the spawn capacity, above 0 and up to 1", p.Load)
	case p.Rate < 0 || p.Rate > 100000:
		return fmt.Errorf("rate %v: want up to 100000 a second, or 0 to measure the spawn capacity first", p.Rate)
	case p.Idle < 1 || p.Idle > limit:
		return fmt.Errorf("%d idle connections: want 1 to %d, this process's limit of open files (ulimit -n)", p.Idle, limit)
	}
	return nil
}

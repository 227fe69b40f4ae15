package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// A Scenario is one kind of load.
type Scenario struct {
	Name   string
	About  string
	Shows  []result.Metric // in the order of the table
	rounds func(*Plan) int
	run    func(context.Context, *Plan, *subject) (result.Measurement, error)

	// start, in place of run, starts the server itself, as often as it needs.
	start func(context.Context, *Run, server.Server, server.Echo) (result.Measurement, error)

	// servers lists those that take part; nil means all that are no boxes.
	servers []string

	// shuffled says that each round has an order of its own. With servers that leave
	// work behind when they stop, none then always pays for the same neighbour.
	shuffled bool

	// rows, in place of run, returns what the scenario measures instead of the
	// servers of the table.
	rows func(*Plan) []row

	// echo is the C echo that servers start in this scenario. Only those that
	// start one take part. Empty means the run's echo, and all servers.
	echo server.Echo

	// short lists the servers of the short form; nil means all.
	short []string
}

// Has reports whether a server takes part in the scenario at all.
func (s Scenario) Has(d server.Definition) bool {
	if s.servers == nil {
		return !d.Boxed
	}
	return slices.Contains(s.servers, d.Name)
}

// A row is something to measure that is no server of the table. Its name and
// what it is are recorded as those of a server.
type row struct {
	result.Server
	missing func(*Run) error // why it is left out, or nil; the function may be nil
	run     func(context.Context, *Run) (result.Measurement, error)
}

// Rows returns the names of what a scenario measures instead of servers.
func (s Scenario) Rows(p *Plan) []string {
	var names []string
	if s.rows != nil {
		for _, r := range s.rows(p) {
			names = append(names, r.Name)
		}
	}
	return names
}

// A subject is a running server and what is known about it.
type subject struct {
	server running
	addr   netip.AddrPort
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
		Name:   "musl1",
		About:  "closed loop, 1 client, a C echo that is linked with musl",
		Shows:  append([]result.Metric{result.LatencyP50, result.Rate, result.LatencyP99}, costs...),
		rounds: func(p *Plan) int { return p.Rounds },
		run:    closed(1),
		echo:   server.Musl,
		short:  muslShort,
	},
	{
		Name:   "musl16",
		About:  "closed loop, 16 clients, a C echo that is linked with musl",
		Shows:  append([]result.Metric{result.Rate, result.CPU, result.CPUMaster, result.CPUWorkers, result.CPUMachine}, result.LatencyP50, result.LatencyP99),
		rounds: func(p *Plan) int { return p.Rounds },
		run:    closed(16),
		echo:   server.Musl,
		short:  muslShort,
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
		run:    growth(func(p *Plan) int { return p.Idle }),
	},
	{
		Name:     "box",
		About:    "a box for each connection: one client, a low rate, sixteen clients; and how much later the service answers than one without a box",
		Shows:    boxShows,
		rounds:   func(p *Plan) int { return p.BoxRounds },
		start:    box,
		servers:  boxServers,
		shuffled: true,
		short:    boxShort,
	},
	{
		Name:     "boxmusl",
		About:    "the same, a C echo that is linked with musl",
		Shows:    boxShows,
		rounds:   func(p *Plan) int { return p.BoxRounds },
		start:    box,
		servers:  boxServers,
		shuffled: true,
		echo:     server.Musl,
		short:    boxShort,
	},
	{
		Name:     "boxes",
		About:    "CPU per connection while few and many boxes are open",
		Shows:    []result.Metric{result.CPUGrowth, result.CPUFew, result.CPUMany, result.MasterGrowth, result.MasterFew, result.MasterMany},
		rounds:   func(p *Plan) int { return p.GrowthRounds },
		run:      growth(func(p *Plan) int { return p.Boxes }),
		servers:  []string{"preforkd-stdio", "preforkd-strict"},
		shuffled: true,
	},
	{
		Name:   "services",
		About:  "one master with many services: start, reload with one of them changed, memory, and connections to one of them",
		Shows:  []result.Metric{result.StartTime, result.ReloadTime, result.ReloadCPU, result.MemoryService, result.Threads, result.CPUMaster, result.LatencyP50, result.LatencyP99},
		rounds: func(p *Plan) int { return p.ServiceRounds },
		rows:   services,
	},
	{
		Name:  "refusals",
		About: "connections that are refused: a backlog full of them, and a flood beside a client that is admitted",
		Shows: []result.Metric{result.RefusedRate, result.CPURefused, result.Refused, result.StartTime, result.MemoryRules, result.MemoryFlood,
			result.FloodRate, result.LatencyP50, result.FloodP50, result.LatencyP99, result.FloodP99, result.FloodP99Growth},
		rounds: func(p *Plan) int { return p.RefusalRounds },
		rows:   refusals,
	},
	{
		Name:   "spawn",
		About:  "the spawn baseline: vfork, exec, exit, wait, one after the other, no server",
		Shows:  []result.Metric{result.SpawnWall, result.SpawnCPU},
		rounds: func(p *Plan) int { return p.Rounds },
		rows:   spawns,
	},
}

// muslShort are the servers that the short form has with the musl echo.
var muslShort = []string{"preforkd-stdio", "tcpserver", "s6-tcpserverd", "baseline-c"}

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
	Rounds        int // of the loops and of the stream
	IdleRounds    int
	GrowthRounds  int
	ServiceRounds int
	RefusalRounds int
	BoxRounds     int

	Warmup   time.Duration // before every load
	Duration time.Duration // of a closed loop and of a stream
	Open     time.Duration // of an open loop
	Load     float64       // rate of the open loop, as a part of the spawn capacity
	Rate     float64       // the same per second; measured when 0
	Idle     int           // idle connections
	Growth   int           // connections that growth measures with
	Boxes    int           // open at once
	Spawns   int           // of the spawn baseline, for each program
	Services []int         // numbers of services of one master

	Rules      int           // of a master that refuses
	Sources    int           // from which denied connections come, one from each
	Known      int           // sources that have been admitted before they are refused
	FloodLimit time.Duration // for a number of connections that are refused
	Short      bool
}

// Full is the plan behind numbers that are published.
func Full() Plan {
	return Plan{
		Rounds: 7, IdleRounds: 1, GrowthRounds: 3, ServiceRounds: 3, RefusalRounds: 3, BoxRounds: 7,
		Warmup: 200 * time.Millisecond, Duration: 1500 * time.Millisecond, Open: 2 * time.Second,
		Load: 0.3, Idle: 10000, Growth: 1000, Boxes: 2000, Spawns: 500,
		Services: []int{1, 100, 1000, maxServices},
		Rules:    100000, Sources: 1000000, Known: 80000, FloodLimit: time.Minute,
	}
}

// Short is the plan for every day: under two minutes.
func Short() Plan {
	return Plan{
		Rounds: 5, IdleRounds: 1, GrowthRounds: 1, ServiceRounds: 1, RefusalRounds: 1, BoxRounds: 3,
		Warmup: 50 * time.Millisecond, Duration: 250 * time.Millisecond, Open: 400 * time.Millisecond,
		Load: 0.3, Idle: 300, Growth: 200, Boxes: 100, Spawns: 100, Short: true,
		Services: []int{1, 100},
		Rules:    1000, Sources: 10000, Known: 1000, FloodLimit: 5 * time.Second,
	}
}

// maxServices is the most services that a plan has.
const maxServices = 10000

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
	for _, n := range p.Services {
		if n < 1 || n > maxServices {
			return fmt.Errorf("%d services: want 1 to %d", n, maxServices)
		}
	}
	return nil
}

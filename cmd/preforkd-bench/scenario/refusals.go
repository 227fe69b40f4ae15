package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

const (
	floodClients = 16
	fillClients  = 16
	stopLimit    = time.Second // from SIGSTOP until the server is stopped
	rulesLimit   = time.Minute // for a start with many rules

	// remembered is max-sources of the master that refuses known sources.
	remembered = 65536
)

// A refuser is a row of the scenario refusals: a server that refuses
// connections, and where they come from.
type refuser struct {
	name, about string
	command     func(r *Run, s server.Site) ([]string, error)
	admits      bool // somebody is admitted, too

	// fill are the sources that are admitted once, before the flood.
	fill func(*Run) *load.Sources
	// sources are those that are refused.
	sources func(*Run) *load.Sources
}

var refusers = []refuser{
	{
		name: "baseline-refuse", about: "a C program: accept4, close; nothing else",
		command: func(r *Run, s server.Site) ([]string, error) {
			program, err := r.Build.Program("refuseserver")
			return []string{program, fmt.Sprint(s.Port)}, err
		},
		sources: deniedSources,
	},
	{
		name: "preforkd-rules", about: "preforkd, sources that are denied by rules",
		command: func(r *Run, s server.Site) ([]string, error) { return r.rules(s).Command() },
		admits:  true, sources: deniedSources,
	},
	{
		name: "preforkd-sources", about: "preforkd, the same rules, sources that are over their rate; more of them than it remembers",
		command: func(r *Run, s server.Site) ([]string, error) { return r.limits(s).Command() },
		admits:  true,
		fill:    func(r *Run) *load.Sources { return load.NewSources(r.Plan.Known, r.limits(server.Site{}).Limited) },
		// The last ones that came are those that it remembers. The one who is
		// admitted takes a place, too.
		sources: func(r *Run) *load.Sources {
			n := min(r.Plan.Known, remembered*9/10)
			return load.NewSources(n, func(i int) [4]byte { return r.limits(server.Site{}).Limited(r.Plan.Known - n + i) })
		},
	},
}

func (r *Run) rules(s server.Site) server.Refusals {
	return server.Refusals{Site: s, Rules: r.Plan.Rules}
}

func (r *Run) limits(s server.Site) server.Refusals {
	return server.Refusals{Site: s, Rules: r.Plan.Rules, MaxSources: remembered}
}

func deniedSources(r *Run) *load.Sources {
	return load.NewSources(r.Plan.Sources, r.rules(server.Site{}).Denied)
}

func refusals(*Plan) []row {
	var rows []row
	for _, f := range refusers {
		rows = append(rows, row{
			Server: result.Server{Name: f.name, Class: "refusals", About: f.about},
			missing: func(r *Run) error {
				if !f.admits {
					_, err := r.Build.Program("refuseserver")
					return err
				}
				_, err := r.Build.Preforkd()
				if err == nil {
					_, err = r.Build.Echo("")
				}
				return err
			},
			run: func(ctx context.Context, r *Run) (result.Measurement, error) { return r.refusals(ctx, f) },
		})
	}
	return rows
}

// refusals measures how fast a server refuses, what that costs it, and what
// somebody notices of it who is admitted.
func (r *Run) refusals(ctx context.Context, f refuser) (result.Measurement, error) {
	values := map[result.Metric]float64{}
	m := result.Measurement{Values: values, Errors: map[string]int{}}
	s, stop, err := r.startRefuser(ctx, f)
	if err != nil {
		return m, err
	}
	defer stop()
	values[result.StartTime] = milliseconds(s.master.Took())
	if f.admits {
		if err := s.warm(ctx, &r.Plan, 1); err != nil {
			return m, err
		}
	}
	s.server.Settle(ctx, 0)
	before, err := s.server.Memory()
	if err != nil {
		return m, err
	}
	values[result.MemoryRules] = float64(before.MasterData) / (1 << 20)
	if f.fill != nil {
		sources := f.fill(r)
		filled, err := load.ClosedFrom(ctx, s.addr, sources, fillClients, sources.Count(), r.Plan.FloodLimit)
		if err != nil {
			return m, err
		}
		if filled.Done < sources.Count() {
			return m, fmt.Errorf("%d of %d sources got to be known within %v: %v", filled.Done, sources.Count(), r.Plan.FloodLimit, filled.Errors)
		}
	}
	sources := f.sources(r)
	if err := r.bursts(ctx, &m, s, sources); err != nil {
		return m, err
	}
	if f.admits {
		if err := r.admitted(ctx, &m, s, sources); err != nil {
			return m, err
		}
	}
	s.server.Settle(ctx, 0)
	after, err := s.server.Memory()
	if err != nil {
		return m, err
	}
	values[result.MemoryFlood] = float64(after.MasterData-before.MasterData) / 1024
	return m, s.server.Alive()
}

// A refusing server is a subject that can be stopped and resumed.
type refusing struct {
	subject
	master *proc.Server
}

func (r *Run) startRefuser(ctx context.Context, f refuser) (*refusing, func(), error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, nil, err
	}
	dir, err := r.directory(f.name)
	if err != nil {
		return nil, nil, err
	}
	args, err := f.command(r, server.Site{Build: r.Build, Dir: dir, Port: port})
	if err != nil {
		return nil, nil, err
	}
	master, err := r.Children.ServeWhen(ctx, args, filepath.Join(dir, "output"), proc.Ready{
		Look:  func() (bool, error) { return proc.Listening(port) },
		Limit: rulesLimit,
		Not:   "nothing listens",
	})
	if err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	return &refusing{subject{master, loopback(port)}, master}, func() {
		_ = master.Signal(unix.SIGCONT) // if it is still stopped
		master.Stop()
		os.RemoveAll(dir)
	}, nil
}

// bursts lets connections wait until the backlog is full, and measures how fast
// the server refuses them then, again and again. The rate is the median: what
// other programs do meanwhile disturbs some bursts and not most. It ends when as
// many connections as the plan has sources were refused, or when the time is
// over.
func (r *Run) bursts(ctx context.Context, m *result.Measurement, s *refusing, sources *load.Sources) error {
	most, err := load.BurstLimit()
	if err != nil {
		return err
	}
	var rates []float64
	total, cost, err := s.cost(ctx, 0, func() (*load.Result, error) {
		total := &load.Result{Errors: m.Errors}
		for deadline := time.Now().Add(r.Plan.FloodLimit); total.Done < r.Plan.Sources && time.Now().Before(deadline); {
			if err := s.pause(); err != nil {
				return nil, err
			}
			b, err := load.Burst(ctx, s.addr, sources, min(most, r.Plan.Sources-total.Done), func() error { return s.master.Signal(unix.SIGCONT) })
			if err != nil {
				return nil, err
			}
			total.Done += b.Done
			rates = append(rates, b.Rate())
			for kind, n := range b.Errors {
				total.Errors[kind] += n
			}
			if b.Done == 0 || b.Failed() > 0 {
				return total, fmt.Errorf("of %d connections of a burst %d were not refused", b.Done+b.Failed(), b.Failed())
			}
		}
		return total, nil
	})
	if err != nil {
		return err
	}
	m.Values[result.Refused] = float64(total.Done)
	m.Values[result.RefusedRate] = result.Summarize(rates).Median
	m.Values[result.CPURefused] = microseconds(cost.Master) / float64(max(total.Done, 1))
	return nil
}

// pause stops the server and waits until it has stopped.
func (s *refusing) pause() error {
	if err := s.master.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(stopLimit); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		if stopped, err := s.master.Stopped(); stopped || err != nil {
			return err
		}
	}
	return errors.New("the server does not stop")
}

// admitted measures what a client that is admitted notices: alone, and while
// others are refused as fast as they come.
func (r *Run) admitted(ctx context.Context, m *result.Measurement, s *refusing, sources *load.Sources) error {
	client := func() (*load.Result, error) {
		loaded, err := load.Closed(ctx, s.addr, 1, 0, 2*r.Plan.Duration)
		if err == nil {
			for kind, n := range loaded.Errors {
				m.Errors[kind] += n
			}
		}
		return loaded, err
	}
	s.server.Settle(ctx, 0)
	alone, err := client()
	if err != nil {
		return err
	}
	flood, err := load.StartFlood(ctx, s.addr, sources, floodClients)
	if err != nil {
		return err
	}
	beside, err := client()
	refused, floodErr := flood.Stop()
	if err := errors.Join(err, floodErr); err != nil {
		return err
	}
	for kind, n := range refused.Errors {
		m.Errors[kind] += n
	}
	m.Values[result.FloodRate] = refused.Rate()
	if alone.Done == 0 || beside.Done == 0 {
		return nil
	}
	at := func(r *load.Result, q float64) float64 { return float64(r.Latency.ValueAtQuantile(q)) / 1000 }
	m.Values[result.LatencyP50], m.Values[result.LatencyP99] = at(alone, 50), at(alone, 99)
	m.Values[result.FloodP50], m.Values[result.FloodP99] = at(beside, 50), at(beside, 99)
	m.Values[result.FloodP99Growth] = at(beside, 99) / at(alone, 99)
	return nil
}

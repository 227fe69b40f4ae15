package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/unit"
)

// A Run is one comparison.
type Run struct {
	Plan      Plan
	Scenarios []Scenario
	Servers   []server.Server
	Build     *server.Build
	Children  *proc.Children
	Units     *unit.Machine
	Dir       string                         // for what servers write; the caller removes it
	Named     bool                           // the servers were chosen by name, so short forms leave none out
	Only      func(scenario string) []string // if not nil, the servers of each scenario
	Progress  func(format string, args ...any)

	starts int
	record *result.Record
}

// Execute runs everything and adds the measurements to record. A server that
// fails is recorded with its problem, and the run goes on; the error is the
// context's, or says that the benchmark itself cannot go on.
func (r *Run) Execute(ctx context.Context, record *result.Record) error {
	r.record = record
	for _, sc := range r.Scenarios {
		rounds := sc.rounds(&r.Plan)
		if sc.Name == "open" {
			if err := r.chooseRate(ctx); err != nil {
				return err
			}
			sc.About = fmt.Sprintf("%s; %.0f a second", sc.About, r.Plan.Rate)
		}
		switch sc.Name {
		case "idle", "growth":
			sc.About = fmt.Sprintf("%s; %d of them", sc.About, r.Plan.Idle)
		case "boxes":
			sc.About = fmt.Sprintf("%s; %d and %d of them", sc.About, few, r.Plan.Boxes)
		}
		record.Scenarios = append(record.Scenarios, result.Scenario{
			Name: sc.Name, About: sc.About, Shows: sc.Shows, Rounds: rounds,
		})
		jobs := r.jobs(sc)
		for round := range rounds {
			start := time.Now()
			order := func(i int) int { return (i + round) % len(jobs) }
			if sc.shuffled {
				shuffled := rand.Perm(len(jobs))
				order = func(i int) int { return shuffled[i] }
			}
			for i := range jobs {
				job := jobs[order(i)]
				m, err := job.run(ctx)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err != nil {
					m.Problem = err.Error()
				}
				m.Scenario, m.Server, m.Round = sc.Name, job.name, round+1
				record.Measurements = append(record.Measurements, m)
			}
			r.Progress("%s: round %d of %d, %d measurements in %.1f s", sc.Name, round+1, rounds, len(jobs), time.Since(start).Seconds())
		}
	}
	return nil
}

// A job is one measurement that is to be repeated.
type job struct {
	name string
	run  func(context.Context) (result.Measurement, error)
}

// jobs returns the measurements of one round, and records who is left out.
func (r *Run) jobs(sc Scenario) []job {
	leaveOut := func(name, reason string) {
		r.record.Missing = append(r.record.Missing, result.Missing{Server: name, Scenario: sc.Name, Reason: reason})
	}
	if sc.rows != nil {
		return r.rowJobs(sc, leaveOut)
	}
	if sc.echo != "" {
		if _, err := r.Build.Echo(sc.echo); err != nil {
			leaveOut("", err.Error())
			return nil
		}
	}
	var jobs []job
	for _, s := range r.Servers {
		if r.Only != nil && !slices.Contains(r.Only(sc.Name), s.Name) || sc.echo != "" && !s.StartsEcho || !sc.Has(s.Definition) {
			continue
		}
		reason := s.Except[sc.Name]
		if reason == "" && r.Plan.Short && !r.Named && r.Only == nil && sc.short != nil && !slices.Contains(sc.short, s.Name) {
			reason = "not in the short form"
		}
		if reason != "" {
			leaveOut(s.Name, reason)
			continue
		}
		jobs = append(jobs, job{s.Name, func(ctx context.Context) (result.Measurement, error) {
			return r.measure(ctx, sc, s)
		}})
	}
	return jobs
}

// rowJobs returns the measurements of one round of a scenario with rows of its
// own, and records its rows as servers.
func (r *Run) rowJobs(sc Scenario, leaveOut func(name, reason string)) []job {
	var jobs []job
	for _, row := range sc.rows(&r.Plan) {
		if r.Only != nil && !slices.Contains(r.Only(sc.Name), row.Name) {
			continue
		}
		if row.missing != nil {
			if err := row.missing(r); err != nil {
				leaveOut(row.Name, err.Error())
				continue
			}
		}
		jobs = append(jobs, job{row.Name, func(ctx context.Context) (result.Measurement, error) { return row.run(ctx, r) }})
		described := row.Server
		if strings.HasPrefix(row.Name, "preforkd") {
			described.Version = r.Build.Version()
		}
		r.record.Servers = append(r.record.Servers, described)
	}
	return jobs
}

// measure starts a server, runs one scenario on it and stops it.
func (r *Run) measure(ctx context.Context, sc Scenario, s server.Server) (result.Measurement, error) {
	if sc.start != nil {
		return sc.start(ctx, r, s, sc.echo)
	}
	subject, stop, err := r.start(ctx, s, sc.echo)
	if err != nil {
		return result.Measurement{}, err
	}
	defer stop()
	return sc.run(ctx, &r.Plan, subject)
}

// start starts a server at a free port in a fresh directory, with an echo if
// that is not the run's. The caller calls stop, which ends the server and
// removes the directory.
func (r *Run) start(ctx context.Context, s server.Server, echo server.Echo) (_ *subject, stop func(), err error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, nil, err
	}
	dir, err := r.directory(s.Name)
	if err != nil {
		return nil, nil, err
	}
	running, err := r.serve(ctx, s, server.Site{Build: r.Build, Dir: dir, Port: port, Program: s.Path, Echo: echo})
	if err != nil {
		return nil, nil, err
	}
	return &subject{running, loopback(port)}, func() {
		running.Stop()
		os.RemoveAll(dir)
	}, nil
}

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// directory makes a fresh directory for one start of a server.
func (r *Run) directory(name string) (string, error) {
	r.starts++
	dir := filepath.Join(r.Dir, fmt.Sprintf("%s-%d", name, r.starts))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("prepare directory of %s: %w", name, err)
	}
	return dir, nil
}

// serve starts a server the way its definition says. The caller stops it.
func (r *Run) serve(ctx context.Context, s server.Server, site server.Site) (running, error) {
	if s.Unit != nil {
		u, err := s.Unit(site)
		if err != nil {
			return nil, err
		}
		return r.Units.Serve(ctx, s.Name, u, site.Port)
	}
	args, err := s.Command(site)
	if err != nil {
		return nil, err
	}
	return r.Children.Serve(ctx, args, site.Port, filepath.Join(site.Dir, "output"))
}

// chooseRate measures the spawn capacity unless a rate was given: connections
// per second of the baseline server with the bare Go program, the median of three.
// Spares of built-in handlers are Go programs, and no server can make more of
// them than that; a rate near the capacity for C programs would only show how
// long their queue grows.
func (r *Run) chooseRate(ctx context.Context) error {
	if r.Plan.Rate > 0 {
		return nil
	}
	definitions, err := server.Select([]string{"baseline-go"})
	if err != nil {
		return err
	}
	var rates []float64
	for range 3 {
		s, stop, err := r.start(ctx, server.Server{Definition: definitions[0]}, "")
		if err != nil {
			return fmt.Errorf("measure spawn capacity: %w", err)
		}
		if err = s.warm(ctx, &r.Plan, 16); err == nil {
			var loaded *load.Result
			if loaded, err = load.Closed(ctx, s.addr, 16, 0, r.Plan.Duration); err == nil {
				rates = append(rates, loaded.Rate())
			}
		}
		stop()
		if err != nil {
			return fmt.Errorf("measure spawn capacity: %w", err)
		}
	}
	slices.Sort(rates)
	r.Plan.Rate = r.Plan.Load * rates[1]
	r.Progress("open: spawn capacity %.0f a second, rate %.0f", rates[1], r.Plan.Rate)
	if r.Plan.Rate < 1 {
		return fmt.Errorf("measure spawn capacity: %.1f connections per second", rates[1])
	}
	return nil
}

package counts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
)

// A Subject is a server whose master is counted.
type Subject struct {
	Name string

	// Args returns what starts the server at a port of 127.0.0.1. If the server
	// can tell what its Go runtime does, it does so at another port, in the
	// form of Prometheus. It logs to its standard output or error.
	Args func(port, metrics int) []string

	// Done stands in the log once for every connection that is over.
	Done string

	// Metrics tells whether Args has a use for its second port.
	Metrics bool
}

// A Bench counts.
type Bench struct {
	Children *proc.Children
	Dir      string // for what servers and strace write; the caller removes it
	Load     Load
	Progress func(format string, args ...any) // may be nil

	starts int
}

// Load says how many connections are made, and how long none is.
type Load struct {
	Warm   int // that do not count
	Count  int // of the first pass
	Traced int // of the second
	Idle   time.Duration
}

// DefaultLoad takes a few seconds for a subject.
var DefaultLoad = Load{Warm: 30, Count: 600, Traced: 100, Idle: 2 * time.Second}

// Count starts the subject, counts and stops it.
func (b *Bench) Count(ctx context.Context, s Subject, c Conditions) (Counts, error) {
	counted, err := b.count(ctx, s, c)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", s.Name, err)
	}
	return counted, nil
}

func (b *Bench) count(ctx context.Context, s Subject, c Conditions) (Counts, error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	metrics, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	b.starts++
	log := filepath.Join(b.Dir, fmt.Sprintf("%s-%d.log", s.Name, b.starts))
	procs := max(c.Procs, 0)
	if procs == 0 {
		procs = 2
	}
	args := append([]string{"env", "GOMAXPROCS=" + strconv.Itoa(procs)}, c.Prefix...)
	hogs, err := b.startHogs(c.Hogs)
	defer hogs()
	if err != nil {
		return nil, err
	}
	running, err := b.Children.Serve(ctx, append(args, s.Args(port, metrics)...), port, log)
	if err != nil {
		return nil, err
	}
	defer running.Stop()
	r := run{server: running, connections: connections{
		ctx: ctx, addr: fmt.Sprintf("127.0.0.1:%d", port), log: log, done: []byte(s.Done),
	}}
	if s.Metrics {
		r.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics)
	}
	counted, err := r.read(b.Load)
	if err != nil {
		return nil, err
	}
	traced, err := b.trace(ctx, running.PID(), log+".trace", func() error {
		// strace cannot let go of a master whose child is about to exec.
		return errors.Join(r.connect(b.Load.Traced), r.rest())
	})
	if err != nil {
		return nil, err
	}
	maps.Copy(counted, traced.counts(b.Load.Traced))
	return counted, running.Alive()
}

// Check counts a subject and returns what is above its limit. What is above is
// counted again, up to the number of attempts, and returned when it is above
// each time. The counts are those of the last attempt.
func (b *Bench) Check(ctx context.Context, s Subject, c Conditions, recorded *Recorded, attempts int) (counted Counts, above []Excess, err error) {
	for attempt := range attempts {
		if counted, err = b.Count(ctx, s, c); err != nil {
			return nil, nil, err
		}
		found, err := recorded.Excesses(s.Name, counted)
		if err != nil {
			return nil, nil, err
		}
		if attempt > 0 {
			found = slices.DeleteFunc(found, func(e Excess) bool {
				return !slices.ContainsFunc(above, func(before Excess) bool { return before.Name == e.Name })
			})
		}
		if above = found; len(above) == 0 {
			break
		}
		if b.Progress != nil {
			b.Progress("%s, attempt %d: above: %v", s.Name, attempt+1, above)
		}
	}
	return counted, above, nil
}

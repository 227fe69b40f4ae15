package scenario

import (
	"context"
	"math"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// cost runs a load and returns what it cost the server: the difference between
// two moments at which no worker was busy. live connections stay open
// throughout.
func (s *subject) cost(ctx context.Context, live int, run func() (*load.Result, error)) (*load.Result, proc.Cost, error) {
	s.server.Settle(ctx, live)
	before, err := s.server.Cost()
	if err != nil {
		return nil, proc.Cost{}, err
	}
	r, err := run()
	if err != nil {
		return nil, proc.Cost{}, err
	}
	s.server.Settle(ctx, live)
	after, err := s.server.Cost()
	if err != nil {
		return nil, proc.Cost{}, err
	}
	if err := s.server.Alive(); err != nil {
		return nil, proc.Cost{}, err
	}
	return r, after.Sub(before), nil
}

// warm loads the server for a moment that does not count.
func (s *subject) warm(ctx context.Context, p *Plan, clients int) error {
	_, err := load.Closed(ctx, s.addr, clients, 0, p.Warmup)
	return err
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// perConnection adds CPU time per connection. Connections that failed have
// cost something, too, and are counted by the server's work, not by success.
func perConnection(values map[result.Metric]float64, r *load.Result, c proc.Cost) {
	n := float64(r.Done + r.Failed())
	if n == 0 {
		return
	}
	values[result.CPU] = microseconds(c.Total()) / n
	values[result.CPUMaster] = microseconds(c.Master) / n
	values[result.CPUWorkers] = microseconds(c.Workers) / n
	values[result.CPUMachine] = microseconds(c.Machine) / n
}

// latencies adds quantiles. Without a single success there are none: that is a
// missing value and not a fast one.
func latencies(values map[result.Metric]float64, r *load.Result) {
	if r.Done == 0 {
		return
	}
	at := func(q float64) float64 { return float64(r.Latency.ValueAtQuantile(q)) / 1000 }
	values[result.LatencyP50] = at(50)
	values[result.LatencyP99] = at(99)
	values[result.LatencyMax] = float64(r.Latency.Max()) / 1000
}

// closed returns the closed loop with a number of clients.
func closed(clients int) func(context.Context, *Plan, *subject) (result.Measurement, error) {
	return func(ctx context.Context, p *Plan, s *subject) (result.Measurement, error) {
		if err := s.warm(ctx, p, clients); err != nil {
			return result.Measurement{}, err
		}
		r, cost, err := s.cost(ctx, 0, func() (*load.Result, error) {
			return load.Closed(ctx, s.addr, clients, 0, p.Duration)
		})
		if err != nil {
			return result.Measurement{}, err
		}
		values := map[result.Metric]float64{result.Rate: r.Rate()}
		latencies(values, r)
		perConnection(values, r, cost)
		return result.Measurement{Values: values, Errors: r.Errors}, nil
	}
}

func open(ctx context.Context, p *Plan, s *subject) (result.Measurement, error) {
	if err := s.warm(ctx, p, 1); err != nil {
		return result.Measurement{}, err
	}
	r, cost, err := s.cost(ctx, 0, func() (*load.Result, error) {
		return load.Open(ctx, s.addr, p.Rate, p.Open)
	})
	if err != nil {
		return result.Measurement{}, err
	}
	values := map[result.Metric]float64{
		result.Offered: p.Rate,
		result.Rate:    r.Rate(),
		result.LagP99:  float64(r.Lag.ValueAtQuantile(99)) / 1000,
	}
	latencies(values, r)
	perConnection(values, r, cost)
	return result.Measurement{Values: values, Errors: r.Errors}, nil
}

func bulk(ctx context.Context, p *Plan, s *subject) (result.Measurement, error) {
	if err := s.warm(ctx, p, 1); err != nil {
		return result.Measurement{}, err
	}
	r, cost, err := s.cost(ctx, 0, func() (*load.Result, error) {
		return load.Bulk(ctx, s.addr, 0, p.Duration)
	})
	if err != nil {
		return result.Measurement{}, err
	}
	values := map[result.Metric]float64{}
	if r.Done == 1 && r.Bytes > 0 {
		gib := float64(r.Bytes) / (1 << 30)
		values[result.Throughput] = float64(r.Bytes) / (1 << 20) / math.Max(r.Elapsed.Seconds(), 1e-9)
		values[result.CPUPerGiB] = cost.Total().Seconds() / gib
	}
	return result.Measurement{Values: values, Errors: r.Errors}, nil
}

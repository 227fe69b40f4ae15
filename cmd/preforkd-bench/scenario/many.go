package scenario

import (
	"context"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

const (
	few           = 10 // live connections to compare many with
	growthClients = 4
)

// idle opens many connections, reads what they occupy, and asks each of them
// once more whether it is still served.
func idle(ctx context.Context, p *Plan, s *subject) (result.Measurement, error) {
	if err := s.warm(ctx, p, 4); err != nil {
		return result.Measurement{}, err
	}
	s.server.Settle(ctx, 0)
	before, err := s.server.Memory()
	if err != nil {
		return result.Measurement{}, err
	}
	availableBefore, err := proc.AvailableMemory()
	if err != nil {
		return result.Measurement{}, err
	}
	connections, err := load.OpenIdle(ctx, s.addr, p.Idle, s.server.Shrink())
	if err != nil {
		return result.Measurement{}, err
	}
	defer connections.Close()
	s.server.Settle(ctx, p.Idle)
	after, err := s.server.Memory()
	if err != nil {
		return result.Measurement{}, err
	}
	availableAfter, err := proc.AvailableMemory()
	if err != nil {
		return result.Measurement{}, err
	}
	alive := connections.Verify(ctx)
	if ctx.Err() != nil {
		return result.Measurement{}, context.Cause(ctx)
	}
	if err := s.server.Alive(); err != nil {
		return result.Measurement{}, err
	}
	r := connections.Result
	values := map[result.Metric]float64{
		result.Served: float64(alive),
		result.Lost:   float64(p.Idle - alive),
		result.Rate:   r.Rate(),
	}
	if n := float64(r.Done); n > 0 {
		grown := after.Master + after.Workers - before.Master - before.Workers
		values[result.Memory] = float64(grown) / 1024 / n
		values[result.MemoryMaster] = float64(after.MasterData-before.MasterData) / 1024 / n
		values[result.MemorySystem] = float64(availableBefore-availableAfter) / 1024 / n
	}
	return result.Measurement{Values: values, Errors: r.Errors}, nil
}

// growth measures the CPU time per connection twice on the same server: while
// few connections are open, and while many are.
func growth(many func(*Plan) int) func(context.Context, *Plan, *subject) (result.Measurement, error) {
	return func(ctx context.Context, p *Plan, s *subject) (result.Measurement, error) {
		m := result.Measurement{Values: map[result.Metric]float64{}, Errors: map[string]int{}}
		if err := s.warm(ctx, p, growthClients); err != nil {
			return m, err
		}
		withFew, err := s.among(ctx, p, few, &m)
		if err != nil {
			return m, err
		}
		s.server.Settle(ctx, 0)
		withMany, err := s.among(ctx, p, many(p), &m)
		if err != nil {
			return m, err
		}
		m.Values[result.MasterFew], m.Values[result.CPUFew] = microseconds(withFew.Master), microseconds(withFew.Total())
		m.Values[result.MasterMany], m.Values[result.CPUMany] = microseconds(withMany.Master), microseconds(withMany.Total())
		if withFew.Master > 0 {
			m.Values[result.MasterGrowth] = float64(withMany.Master) / float64(withFew.Master)
			m.Values[result.CPUGrowth] = float64(withMany.Total()) / float64(withFew.Total())
		}
		return m, nil
	}
}

// among returns what one connection costs while others are open, and adds the
// errors of all to a measurement.
func (s *subject) among(ctx context.Context, p *Plan, live int, m *result.Measurement) (proc.Cost, error) {
	connections, err := load.OpenIdle(ctx, s.addr, live, s.server.Shrink())
	if err != nil {
		return proc.Cost{}, err
	}
	defer connections.Close()
	r, cost, err := s.cost(ctx, live, func() (*load.Result, error) {
		return load.Closed(ctx, s.addr, growthClients, p.Growth, 10*p.Duration)
	})
	if err != nil {
		return proc.Cost{}, err
	}
	for _, errors := range []map[string]int{connections.Result.Errors, r.Errors} {
		for kind, n := range errors {
			m.Errors[kind] += n
		}
	}
	n := time.Duration(max(r.Done+r.Failed(), 1))
	return proc.Cost{Master: cost.Master / n, Workers: cost.Workers / n, Machine: cost.Machine / n}, nil
}

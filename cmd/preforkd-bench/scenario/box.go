package scenario

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

const (
	boxClients = 16

	// pacedRate is so low that spares are there again when the next connection
	// comes. A server that isolates more slowly than that has no such latency.
	pacedRate = 50
	pacedTime = 2 // times the length of a closed loop
)

// plainServer is what boxes are compared with.
const plainServer = "preforkd-stdio"

var (
	boxServers = []string{plainServer, "preforkd-entry", "preforkd-basic", "preforkd-strict", "preforkd-strict-tmp",
		"preforkd-spares-none", "preforkd-spares-strict", "nsjail", "bwrap", "systemd-sandbox"}

	// boxShort are the servers of the short form.
	boxShort = []string{plainServer, "preforkd-basic", "preforkd-strict", "nsjail", "bwrap"}

	boxShows = []result.Metric{result.LatencyP50, result.Rate, result.CPU, result.CPUMaster, result.CPUWorkers, result.CPUMachine,
		result.CPUBusy, result.LatencyPaced, result.StartTime, result.StartMore}
)

// box measures a server that isolates each connection, or one that does not.
func box(ctx context.Context, r *Run, s server.Server, echo server.Echo) (result.Measurement, error) {
	m := result.Measurement{Values: map[result.Metric]float64{}, Errors: map[string]int{}}
	own := strings.HasPrefix(s.Name, "preforkd-")
	if own {
		if err := r.startTimes(ctx, s, echo, m.Values); err != nil {
			return m, err
		}
	}
	subject, stop, err := r.start(ctx, s, echo)
	if err != nil {
		return m, err
	}
	defer stop()
	add := func(r *load.Result) {
		for kind, n := range r.Errors {
			m.Errors[kind] += n
		}
	}

	if err := subject.warm(ctx, &r.Plan, 1); err != nil {
		return m, err
	}
	one, cost, err := subject.cost(ctx, 0, func() (*load.Result, error) {
		return load.Closed(ctx, subject.addr, 1, 0, r.Plan.Duration)
	})
	if err != nil {
		return m, err
	}
	add(one)
	latencies(m.Values, one)
	perConnection(m.Values, one, cost)

	if own {
		paced, err := load.Open(ctx, subject.addr, pacedRate, pacedTime*r.Plan.Duration)
		if err != nil {
			return m, err
		}
		add(paced)
		if paced.Done > 0 {
			m.Values[result.LatencyPaced] = float64(paced.Latency.ValueAtQuantile(50)) / 1000
		}
	}

	if err := subject.warm(ctx, &r.Plan, boxClients); err != nil {
		return m, err
	}
	busy, cost, err := subject.cost(ctx, 0, func() (*load.Result, error) {
		return load.Closed(ctx, subject.addr, boxClients, 0, r.Plan.Duration)
	})
	if err != nil {
		return m, err
	}
	add(busy)
	m.Values[result.Rate] = busy.Rate()
	m.Values[result.CPUBusy] = microseconds(cost.Total()) / float64(max(busy.Done+busy.Failed(), 1))
	return m, nil
}

// startTimes measures how long a service takes until it answers, and how much
// longer that is than without a box.
func (r *Run) startTimes(ctx context.Context, s server.Server, echo server.Echo, values map[result.Metric]float64) error {
	took, err := r.startTime(ctx, s.Definition, echo)
	if err != nil {
		return err
	}
	values[result.StartTime] = milliseconds(took)
	if !s.Boxed {
		return nil
	}
	plain, err := server.Select([]string{plainServer})
	if err != nil {
		return err
	}
	without, err := r.startTime(ctx, plain[0], echo)
	values[result.StartMore] = milliseconds(took - without)
	return err
}

// startTime starts a server of preforkd, and returns how long it took until the
// first connection was served.
func (r *Run) startTime(ctx context.Context, d server.Definition, echo server.Echo) (time.Duration, error) {
	port, err := proc.FreePort()
	if err != nil {
		return 0, err
	}
	dir, err := r.directory(d.Name)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	args, err := d.Command(server.Site{Build: r.Build, Dir: dir, Port: port, Echo: echo})
	if err != nil {
		return 0, err
	}
	running, err := r.Children.ServeWhen(ctx, args, filepath.Join(dir, "output"), answers(ctx, loopback(port), "the service does not answer"))
	if err != nil {
		return 0, err
	}
	defer running.Stop()
	return running.Took(), nil
}

package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	servicesTimeout = time.Minute // for a start, and for a reload
	servicesClients = 4

	// otherFiles is what a master has open besides a descriptor for each service.
	otherFiles = 200
)

// services returns a row for each number of services.
func services(p *Plan) []row {
	var rows []row
	for _, n := range p.Services {
		about := fmt.Sprintf("preforkd, %d services in one master", n)
		if n == 1 {
			about = "preforkd, one service"
		}
		rows = append(rows, row{
			Server:  result.Server{Name: fmt.Sprintf("preforkd-%d", n), Class: "services", About: about},
			missing: func(r *Run) error { return r.lacksForServices(n) },
			run:     func(ctx context.Context, r *Run) (result.Measurement, error) { return r.services(ctx, n) },
		})
	}
	return rows
}

// lacksForServices says what a master with n services would lack here.
func (r *Run) lacksForServices(n int) error {
	if _, err := r.Build.Preforkd(); err != nil {
		return err
	}
	if _, err := r.Build.Echo(""); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	if limit.Max < uint64(n+otherFiles) {
		return fmt.Errorf("%d services need as many open files, and the limit is %d here (ulimit -Hn)", n, limit.Max)
	}
	return nil
}

// services measures a master with n services: how long it takes to start, what
// it occupies, what a connection to one of them costs, and how long it takes to
// take over a configuration in which one of them is another. What has been
// measured before an error is returned with it.
func (r *Run) services(ctx context.Context, n int) (result.Measurement, error) {
	values := map[result.Metric]float64{}
	m := result.Measurement{Values: values}
	one, err := r.memoryOfOneService(ctx)
	if err != nil {
		return m, err
	}
	s, master, stop, err := r.startServices(ctx, n)
	if err != nil {
		return m, err
	}
	defer stop()
	values[result.StartTime] = milliseconds(master.Took())
	threads, err := master.Threads()
	if err != nil {
		return m, err
	}
	values[result.Threads] = float64(threads)
	memory, err := master.Memory()
	if err != nil {
		return m, err
	}
	if n > 1 {
		values[result.MemoryService] = float64(memory.MasterData-one) / 1024 / float64(n-1)
	}

	last := &subject{master, s.Addr(n - 1)}
	if err := last.warm(ctx, &r.Plan, servicesClients); err != nil {
		return m, err
	}
	loaded, cost, err := last.cost(ctx, 0, func() (*load.Result, error) {
		return load.Closed(ctx, last.addr, servicesClients, r.Plan.Growth, 10*r.Plan.Duration)
	})
	if err != nil {
		return m, err
	}
	m.Errors = loaded.Errors
	latencies(values, loaded)
	perConnection(values, loaded, cost)
	return m, reload(ctx, values, s, master)
}

// memoryOfOneService returns the private memory of a master that has one
// service, in bytes: what a master occupies before it has many.
func (r *Run) memoryOfOneService(ctx context.Context) (int64, error) {
	_, master, stop, err := r.startServices(ctx, 1)
	if err != nil {
		return 0, err
	}
	defer stop()
	memory, err := master.Memory()
	return memory.MasterData, err
}

// startServices starts a master and waits until the last service answers. The
// caller calls stop.
func (r *Run) startServices(ctx context.Context, n int) (s server.Services, master *proc.Server, stop func(), err error) {
	port, err := proc.FreePort()
	if err != nil {
		return s, nil, nil, err
	}
	dir, err := r.directory("services")
	if err != nil {
		return s, nil, nil, err
	}
	s = server.Services{Site: server.Site{Build: r.Build, Dir: dir, Port: port}, Count: n}
	args, err := s.Command()
	if err != nil {
		return s, nil, nil, err
	}
	master, err = r.Children.ServeWhen(ctx, args, filepath.Join(dir, "output"), answers(ctx, s.Addr(n-1), "the last service does not answer"))
	if err != nil {
		os.RemoveAll(dir)
		return s, nil, nil, err
	}
	return s, master, func() {
		master.Stop()
		os.RemoveAll(dir)
	}, nil
}

func answers(ctx context.Context, addr netip.AddrPort, not string) proc.Ready {
	return proc.Ready{
		Look:  func() (bool, error) { return load.Answers(ctx, addr) },
		Limit: servicesTimeout,
		Not:   not,
	}
}

// reload changes the service in the middle: it listens elsewhere. The time ends
// when it answers there; all others must still answer, of which the last is
// asked.
func reload(ctx context.Context, values map[result.Metric]float64, s server.Services, master *proc.Server) error {
	changed := s.Count / 2
	if err := s.Move(changed); err != nil {
		return err
	}
	before, err := master.Cost()
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := master.Signal(unix.SIGHUP); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	if err := master.Await(ctx, answers(ctx, s.MovedAddr(changed), "the changed service does not answer")); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	took := time.Since(begun)
	master.Settle(ctx, 0)
	after, err := master.Cost()
	if err != nil {
		return err
	}
	if s.Count > 1 {
		if ok, err := load.Answers(ctx, s.Addr(s.Count-1)); err != nil {
			return err
		} else if !ok {
			return errors.New("reload: a service that was not changed does not answer")
		}
	}
	values[result.ReloadTime] = milliseconds(took)
	values[result.ReloadCPU] = milliseconds(after.Sub(before).Master)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

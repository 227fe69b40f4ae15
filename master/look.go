package master

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/process"
)

const (
	// lookPause is the least between two looks at the master, however many
	// there are who look.
	lookPause = 100 * time.Millisecond
	lookLimit = 20 * time.Second
)

// Status takes a look at the master, or shares one that somebody else takes.
// Nobody may change what it returns. It may be called at any time by anybody.
func (m *Master) Status(ctx context.Context) (control.Status, error) { return m.looks.get(ctx) }

// Summary is Status without the connections, and cheap at any number of them.
func (m *Master) Summary(ctx context.Context) (control.Status, error) { return m.summaries.get(ctx) }

// look takes a look: what only the loop knows is copied by the loop, and all
// that takes time, for it is asked of the kernel, is found out here.
func (m *Master) look(ctx context.Context) (control.Status, error) {
	s, err := m.lookAt(ctx, true)
	if err != nil {
		return control.Status{}, err
	}
	connections := s.status.Connections
	buf := make([]byte, 1024)
	for i := range connections {
		c := &connections[i]
		c.Age = s.status.Taken.Sub(c.Since).Seconds()
		if used, ok := process.UsageOf(c.PID, buf); ok {
			cpu := used.CPU.Seconds()
			c.CPU, c.RSS = &cpu, &used.RSS
		}
	}
	slices.SortFunc(connections, func(a, b control.Connection) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return s.status, nil
}

// lookAtServices is look without the connections.
func (m *Master) lookAtServices(ctx context.Context) (control.Status, error) {
	s, err := m.lookAt(ctx, false)
	if err != nil {
		return control.Status{}, err
	}
	return s.status, nil
}

// lookAt takes a snapshot and adds what the kernel knows of sockets and of the
// master itself.
func (m *Master) lookAt(ctx context.Context, connections bool) (s *snapshot, err error) {
	if err := m.ask(ctx, func() { s = m.snapshot(time.Now(), connections) }); err != nil {
		return nil, err
	}
	s.lookAtSockets()
	m.lookAtMyself(&s.status.Master)
	s.status.Master.Problems = s.problems(m.logger.Lost())
	return s, nil
}

// lookAtMyself fills in what the master itself uses.
func (m *Master) lookAtMyself(to *control.Master) {
	to.Version, to.PID, to.Started, to.Config = ipc.Version, os.Getpid(), m.started, m.file
	to.Uptime = time.Since(m.started).Seconds()
	to.LogLevel = m.LogLevel()
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		to.UserTime = time.Duration(usage.Utime.Nano()).Seconds()
		to.SysTime = time.Duration(usage.Stime.Nano()).Seconds()
	}
	to.RSS = process.OwnRSS()
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		to.OpenFiles = len(open) - 1 // without the one that reads them
	}
}

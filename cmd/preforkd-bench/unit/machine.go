package unit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// bootTimeout is for a slow machine with other work.
const bootTimeout = 2 * time.Minute

// A Machine is the systemd of one run. It is not booted before it is needed.
// One goroutine uses it.
type Machine struct {
	children *proc.Children
	progress func(format string, args ...any)

	machine *nspawn.Machine // nil until it has been booted
	failed  error           // why it cannot be
}

// New returns a machine whose processes on this side belong to children. The
// caller closes it before them. progress is told of the boot.
func New(children *proc.Children, progress func(format string, args ...any)) *Machine {
	return &Machine{children: children, progress: progress}
}

// Close takes the machine down, if there is one.
func (m *Machine) Close() error {
	if m.machine == nil {
		return nil
	}
	return m.machine.Close()
}

// boot boots the machine, once.
func (m *Machine) boot(ctx context.Context) error {
	if m.machine != nil || m.failed != nil {
		return m.failed
	}
	m.progress("booting a systemd for its units")
	limited, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	machine, err := nspawn.Boot(limited, nspawn.Options{HostNetwork: true, Processes: m.children})
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		// What the console had to say is too long for a table.
		m.progress("%v", err)
		reason, _, _ := strings.Cut(err.Error(), "\n")
		m.failed = errors.New(reason)
		return m.failed
	}
	m.machine = machine
	return nil
}

// Serve starts a unit under a name and waits until it listens on
// 127.0.0.1:port. The caller stops it.
func (m *Machine) Serve(ctx context.Context, name string, u server.Unit, port int) (*Server, error) {
	if err := m.boot(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := m.machine.Alive(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s := &Server{machine: m.machine, progress: m.progress, name: name, port: port}
	if err := s.start(ctx, u); err != nil {
		err = errors.Join(err, s.remove(ctx))
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.Tree = m.children.Watch(ctx, m.machine.Leader)
	return s, nil
}

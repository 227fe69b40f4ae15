package nspawn

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed machine.sh
var script string

// look is how often a state is looked at that nothing announces.
const look = 10 * time.Millisecond

// number tells the machines of this process apart.
var number atomic.Int64

// Boot boots a machine and waits until its systemd says "running". The caller
// closes it. When it does not come up, the error ends with the last lines of
// its console.
func Boot(ctx context.Context, o Options) (_ *Machine, err error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	tree, err := os.MkdirTemp("", "preforkd-machine-")
	if err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	defer os.RemoveAll(tree)
	if err := o.write(tree); err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}

	m := &Machine{
		Name:      fmt.Sprintf("preforkd-machine-%d-%d", os.Getpid(), number.Add(1)),
		processes: o.Processes,
		console:   &console{to: o.Log},
		ended:     make(chan struct{}),
	}
	if m.processes == nil {
		m.processes = osExec{}
	}
	args := append([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"/bin/sh", "-c", script, "machine.sh", m.Name, maskedList(), o.network()}, o.Trees...)
	m.cmd = exec.Command("unshare", append(args, tree)...)
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	// Ctrl-C is for the process that has booted the machine. The machine ends
	// when that does.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if m.hold, err = m.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	if err := m.processes.Start(m.cmd); err != nil {
		m.hold.Close()
		return nil, fmt.Errorf("boot a machine: %w", err)
	}
	go func() {
		defer close(m.ended)
		m.processes.Wait(m.cmd) // the status of a shell that waits to be ended says nothing
	}()

	if err := m.boot(ctx); err != nil {
		m.end() // nothing runs in it that is worth waiting for, and it may not be listening yet
		return nil, fmt.Errorf("boot a machine: %w\n%s", err, m.console.last(20))
	}
	return m, nil
}

// boot waits until the machine has an init, and that has done its work.
func (m *Machine) boot(ctx context.Context) error {
	err := m.poll(ctx, func() bool {
		m.Leader = m.findLeader()
		return m.Leader > 0
	})
	if err != nil {
		return fmt.Errorf("wait for its systemd: %w", err)
	}
	var state string
	err = m.poll(ctx, func() bool {
		// It exits with 1 for every state but "running", and before there is
		// anybody to ask.
		out, _ := m.Run(ctx, "systemctl", "is-system-running", "--wait")
		state = strings.TrimSpace(out)
		return state == "running" || state == "degraded" || state == "maintenance"
	})
	if err != nil {
		return fmt.Errorf("wait until it is running: %w", err)
	}
	if state != "running" {
		failed, _ := m.Run(ctx, "systemctl", "--failed", "--no-legend", "--plain")
		return fmt.Errorf("it is %s, not running:\n%s", state, failed)
	}
	return nil
}

// poll looks at a state until it holds, the machine has ended, or ctx has.
func (m *Machine) poll(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.ended:
			return errEnded
		case <-time.After(look):
		}
	}
	return nil
}

// findLeader returns the pid of the machine's pid 1: below the process that
// was started stand the shell, nspawn, and then it. 0 is none so far.
func (m *Machine) findLeader() int {
	for _, shell := range children(m.cmd.Process.Pid) {
		for _, nspawn := range children(shell) {
			for _, pid := range children(nspawn) {
				// Before nspawn's child becomes it, it bears nspawn's name.
				name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
				if strings.TrimSpace(string(name)) == "systemd" {
					return pid
				}
			}
		}
	}
	return 0
}

// children returns the children of all threads of a process.
func children(pid int) []int {
	var found []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(data)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

package proc

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Children owns this process's children. It exists because:
//
//  1. servers leave orphans (socat never waits for the programs it starts),
//     which end here as zombies and must be reaped and accounted;
//  2. os/exec waits for its own children, and nobody else may take their
//     status away;
//  3. when the benchmark ends, whatever is still alive must end first.
type Children struct {
	// mu guards the fields below. Start holds it, too, so that a child is
	// known before the reaper can see it end.
	mu      sync.Mutex
	known   map[int]bool  // started here; os/exec reaps them
	adopted time.Duration // CPU time of the reaped orphans
	signals chan os.Signal
	done    chan struct{}
}

// Adopt makes this process the parent of everything its children leave behind
// and starts reaping it. Call Close at the end.
func Adopt() (*Children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	c := &Children{
		known:   make(map[int]bool),
		signals: make(chan os.Signal, 1),
		done:    make(chan struct{}),
	}
	signal.Notify(c.signals, unix.SIGCHLD)
	go func() {
		defer close(c.done)
		for range c.signals {
			c.reap()
		}
	}()
	return c, nil
}

// Close kills what is left of this process's children, waits for their end and
// stops reaping.
func (c *Children) Close() {
	c.killOrphans()
	signal.Stop(c.signals)
	close(c.signals)
	<-c.done
}

// Run starts a command, waits for its end and returns its error. It is
// exec.Cmd's Run, safe against the reaper.
func (c *Children) Run(cmd *exec.Cmd) error {
	if err := c.Start(cmd); err != nil {
		return err
	}
	return c.Wait(cmd)
}

// Start is exec.Cmd's Start, safe against the reaper. The caller calls Wait,
// and ends the command before Close. A command that runs on beside the servers
// is not taken for one of theirs, nor is what is below it.
func (c *Children) Start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.known[cmd.Process.Pid] = true
	return nil
}

// Wait is exec.Cmd's Wait for what Start has started.
func (c *Children) Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	c.forget(cmd.Process.Pid)
	return err
}

// forget is called after os/exec has reaped the child. What ended meanwhile
// and was hidden behind it is reaped now.
func (c *Children) forget(pid int) {
	c.mu.Lock()
	delete(c.known, pid)
	c.mu.Unlock()
	c.reap()
}

// reap collects every orphan that has ended. It looks before it takes: when
// the first in line is a child of os/exec it stops, and forget calls again.
func (c *Children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		pid := siginfoPid(&info)
		if err != nil || pid == 0 || c.known[pid] {
			return
		}
		var usage unix.Rusage
		if got, err := unix.Wait4(pid, nil, unix.WNOHANG, &usage); got == pid && err == nil {
			c.adopted += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
}

// orphanTime returns the CPU time of all orphans reaped until now.
func (c *Children) orphanTime() time.Duration {
	c.reap()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.adopted
}

// killAtOnce bounds how many orphans are dying at a time: thousands that have a
// seccomp filter must not end in the same instant (see load.Idle).
const killAtOnce = 128

// killOrphans kills every child of this process that os/exec does not own,
// until none is left, or until they have not become fewer for ten seconds. Only
// direct children are signalled: nobody but this process reaps them, so their
// pids cannot have been given to strangers. The children of one that dies
// become direct ones and are next.
func (c *Children) killOrphans() {
	const limit = 10 * time.Second
	fewest := math.MaxInt
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		left, err := c.killOnce()
		if err != nil || left == 0 {
			return
		}
		if left < fewest {
			fewest, deadline = left, time.Now().Add(limit)
		}
		time.Sleep(2 * time.Millisecond)
		c.reap()
	}
}

// killOnce kills the orphans with the lowest pids: those that it killed before
// and that are not gone yet, and as many others as there is room for.
func (c *Children) killOnce() (left int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := readTable()
	if err != nil {
		return 0, err
	}
	orphans := c.orphans(t)
	slices.Sort(orphans)
	for _, pid := range orphans[:min(killAtOnce, len(orphans))] {
		if !t[pid].zombie {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	return len(orphans), nil
}

// orphans returns the children of this process that it has not started. mu is
// held.
func (c *Children) orphans(t table) []int {
	var found []int
	for pid, s := range t {
		if s.parent == os.Getpid() && !c.known[pid] {
			found = append(found, pid)
		}
	}
	return found
}

// siginfoPid returns si_pid, which x/sys does not name: it follows three
// integers and the padding that aligns a pointer (sigaction(2)).
func siginfoPid(info *unix.Siginfo) int {
	const align = unsafe.Sizeof(uintptr(0))
	offset := (3*unsafe.Sizeof(int32(0)) + align - 1) &^ (align - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}

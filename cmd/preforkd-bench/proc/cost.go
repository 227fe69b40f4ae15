package proc

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Cost is the CPU time of a server since it started, or between two looks.
type Cost struct {
	Master  time.Duration // the tree's first process
	Workers time.Duration // everything that came of it, reaped or alive
	Machine time.Duration // busy time of all CPUs less this process's own
}

// Sub returns the cost of what happened between the looks b and c.
func (c Cost) Sub(b Cost) Cost {
	return Cost{c.Master - b.Master, c.Workers - b.Workers, c.Machine - b.Machine}
}

// Total is what the server itself accounts for.
func (c Cost) Total() time.Duration { return c.Master + c.Workers }

// Cost reads what the server has cost until now.
func (t *Tree) Cost() (Cost, error) {
	processes, err := readTable()
	if err != nil {
		return Cost{}, err
	}
	var c Cost
	c.Master = clock(t.pid)
	c.Workers = processes[t.pid].reaped
	for _, pid := range t.family(processes) {
		if pid != t.pid {
			c.Workers += clock(pid) + processes[pid].reaped
		}
	}
	c.Workers += t.children.orphanTime()
	busy, err := machineBusy()
	c.Machine = busy - clock(os.Getpid())
	return c, err
}

// clock returns the CPU time that a process has used, all its threads
// together, or 0 when it is gone. The number of the clock is what
// clock_getcpuclockid(3) computes: the pid's complement and the type, 2 for
// the scheduler's own count in nanoseconds.
func clock(pid int) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|2), &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

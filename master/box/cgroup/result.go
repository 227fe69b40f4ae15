package cgroup

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Result is what a connection has used since Begin, and which limits it met.
type Result struct {
	OOMKills      uint64        // processes that were killed because memory ran out, in the leaf, the service or the machine; the kernel may count one twice
	MemoryMaxHits uint64        // times that MemoryMax of the leaf was in the way
	TasksMaxHits  uint64        // forks that TasksMax of the leaf refused
	CPUThrottled  uint64        // periods of 100 ms in which CPUQuota stopped the leaf
	CPUTime       time.Duration // of all processes, also of those that live
	MemoryPeak    uint64        // bytes, with the page cache that earlier connections left in the leaf; 0 if the kernel does not tell
	TasksPeak     int           // processes and threads at once; 0 if the kernel does not tell
}

// counters are what the files of a leaf say, since it was made.
type counters struct {
	oomKills, memoryMax, tasksMax, throttled, cpuMicroseconds uint64
	memoryPeak, tasksPeak                                     uint64 // 0 where the kernel has no such file
}

func (l *Leaf) counters() (c counters, err error) {
	d := l.directory
	cpu, err := d.keyed("cpu.stat") // also without the controller, then without throttling
	if err != nil {
		return c, err
	}
	c.cpuMicroseconds, c.throttled = cpu["usage_usec"], cpu["nr_throttled"]
	if slices.Contains(l.controllers, "memory") {
		events, err := d.keyed("memory.events")
		if err != nil {
			return c, err
		}
		c.oomKills, c.memoryMax = events["oom_kill"], events["max"]
		if c.memoryPeak, err = d.valueIfAny("memory.peak"); err != nil { // since Linux 5.19
			return c, err
		}
	}
	if slices.Contains(l.controllers, "pids") {
		events, err := d.keyed("pids.events")
		if err != nil {
			return c, err
		}
		c.tasksMax = events["max"]
		if c.tasksPeak, err = d.valueIfAny("pids.peak"); err != nil { // since Linux 6.1
			return c, err
		}
	}
	return c, nil
}

// valueIfAny returns the number in a file, or 0 if an older kernel has no such file.
func (d directory) valueIfAny(file string) (uint64, error) {
	n, err := d.value(file)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	return n, err
}

// Result returns what has been used since Begin. It may be asked while processes live.
// Controllers that Prepare was not told of leave their counters at 0.
//
// A peak that cannot be reset is that of all connections of the leaf. It is told only
// if it rose since Begin, because then it is the one of this connection.
func (l *Leaf) Result() (Result, error) {
	now, err := l.counters()
	if err != nil {
		return Result{}, err
	}
	was := l.start
	result := Result{
		OOMKills:      now.oomKills - was.oomKills,
		MemoryMaxHits: now.memoryMax - was.memoryMax,
		TasksMaxHits:  now.tasksMax - was.tasksMax,
		CPUThrottled:  now.throttled - was.throttled,
		CPUTime:       time.Duration(now.cpuMicroseconds-was.cpuMicroseconds) * time.Microsecond,
	}
	if now.tasksPeak > was.tasksPeak {
		result.TasksPeak = int(now.tasksPeak)
	}
	switch {
	case l.reset:
		result.MemoryPeak, err = l.peakSinceReset()
	case now.memoryPeak > was.memoryPeak:
		result.MemoryPeak = now.memoryPeak
	}
	return result, err
}

// peakSinceReset reads the descriptor of memory.peak.
func (l *Leaf) peakSinceReset() (peak uint64, err error) {
	buf := make([]byte, 32)
	var n int
	l.park(func() {
		n, err = ignoringEINTR(func() (int, error) { return unix.Pread(l.peak, buf, 0) })
	})
	if err != nil {
		return 0, l.directory.fail("read", "memory.peak", err)
	}
	if peak, err = strconv.ParseUint(strings.TrimSpace(string(buf[:n])), 10, 64); err != nil {
		return 0, l.directory.fail("parse", "memory.peak", err)
	}
	return peak, nil
}

package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits are those of a cgroup. The zero value has none.
type Limits struct {
	MemoryMax     uint64  // bytes; 0 is no limit
	MemoryHigh    uint64  // bytes above which allocations are slowed down; 0 is no limit
	MemorySwapMax *uint64 // bytes of swap; nil is no limit
	TasksMax      int     // processes and threads; 0 is no limit
	CPUQuota      int     // percent of one processor; 0 is no limit
	CPUWeight     int     // 1 to 10000; 0 is the kernel's default of 100
	IOWeight      int     // 1 to 10000; 0 is the kernel's default of 100
}

// A setting is what one file of a cgroup is to have.
type setting struct {
	controller string
	file       string
	value      string
	asked      bool // false: it is the kernel's default
}

// cpuPeriod is the kernel's default period of cpu.max, in microseconds.
const cpuPeriod = 100_000

// settings returns the settings of all limits (cgroup-v2.rst, "Controllers").
func (l Limits) settings() []setting {
	bytes := func(n uint64) string {
		if n == 0 {
			return "max"
		}
		return strconv.FormatUint(n, 10)
	}
	or := func(n int, otherwise string) string {
		if n == 0 {
			return otherwise
		}
		return strconv.Itoa(n)
	}
	swap := "max"
	if l.MemorySwapMax != nil {
		swap = strconv.FormatUint(*l.MemorySwapMax, 10)
	}
	quota := "max"
	if l.CPUQuota != 0 {
		quota = strconv.Itoa(l.CPUQuota * (cpuPeriod / 100))
	}
	return []setting{
		{"memory", "memory.max", bytes(l.MemoryMax), l.MemoryMax != 0},
		{"memory", "memory.high", bytes(l.MemoryHigh), l.MemoryHigh != 0},
		{"memory", "memory.swap.max", swap, l.MemorySwapMax != nil},
		{"pids", "pids.max", or(l.TasksMax, "max"), l.TasksMax != 0},
		{"cpu", "cpu.max", fmt.Sprintf("%s %d", quota, cpuPeriod), l.CPUQuota != 0},
		{"cpu", "cpu.weight", or(l.CPUWeight, "100"), l.CPUWeight != 0},
		{"io", "io.weight", "default " + or(l.IOWeight, "100"), l.IOWeight != 0},
	}
}

// Controllers returns the controllers that the limits need, for Prepare.
func (l Limits) Controllers() (names []string) {
	for _, s := range l.settings() {
		if s.asked && !slices.Contains(names, s.controller) {
			names = append(names, s.controller)
		}
	}
	return names
}

// apply gives limits to a cgroup that has some controllers. A new cgroup has the defaults
// already; one that is not new needs all settings.
func (l Limits) apply(d directory, controllers []string, all bool) error {
	for _, s := range l.settings() {
		enabled := slices.Contains(controllers, s.controller)
		if s.asked && !enabled {
			return fmt.Errorf("%s of %s needs the controller %s, and Prepare was not told", s.file, d.path, s.controller)
		}
		if !s.asked && !(all && enabled) {
			continue
		}
		err := d.write(s.file, s.value)
		if errors.Is(err, unix.ENOENT) && d.has("cgroup.procs") { // not the cgroup, only the file is missing
			err = nil
			if s.asked {
				err = &LackError{[]string{s.file}, missingFile(d, s.file)}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// missingFile says why a cgroup with the controller does not have a file.
func missingFile(d directory, file string) error {
	switch file {
	case "memory.swap.max":
		return &MissingError{"the kernel does not count swap (no memory.swap.max in " + d.path + ")", "swapaccount=1 on the kernel command line, or a kernel with CONFIG_SWAP"}
	case "io.weight":
		return &MissingError{"the kernel cannot weigh access to disks (no io.weight in " + d.path + ")", "a kernel with CONFIG_BLK_CGROUP_IOCOST"}
	}
	return &MissingError{fmt.Sprintf("no %s in %s", file, d.path), "a newer kernel"}
}

package process

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// exiting is the bit of a process's flags that says that it is ending (PF_EXITING in
// include/linux/sched.h).
const exiting = 0x4

// A stat is what /proc/PID/stat says of a process (proc_pid_stat(5)).
type stat struct {
	state                  byte // R, S, D, T, Z and others
	flags                  int  // PF_ in include/linux/sched.h
	parent, group, session int
	cpu                    time.Duration // user and system time
	children               time.Duration // of the children that it has waited for
	rss                    uint64        // resident memory in bytes
}

// ended reports whether the process is a zombie or dead. It then holds no
// memory.
func (s stat) ended() bool { return s.state == 'Z' || s.state == 'X' }

// clockTicks is the number of clock ticks in a second, in which the kernel
// counts CPU time for stat files. It is USER_HZ, which is 100 on every
// architecture that Go supports (sysconf(3), _SC_CLK_TCK).
const clockTicks = 100

// parseStat reads the fields 3 to 6, 9, 14 to 17 and 24 of a stat file. The second
// field is the name of the program in parentheses. The name may contain
// parentheses and spaces, so the fields are counted from the last ")".
func parseStat(text []byte) (s stat, ok bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return stat{}, false
	}
	const first = 3 // the number of fields[0]
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= 24-first {
		return stat{}, false
	}
	var numbers [25]int
	for _, field := range []int{4, 5, 6, 9, 14, 15, 16, 17, 24} {
		n, err := strconv.Atoi(string(fields[field-first]))
		if err != nil || n < 0 {
			return stat{}, false
		}
		numbers[field] = n
	}
	return stat{
		state:    fields[0][0],
		parent:   numbers[4],
		group:    numbers[5],
		session:  numbers[6],
		flags:    numbers[9],
		cpu:      time.Duration(numbers[14]+numbers[15]) * (time.Second / clockTicks),
		children: time.Duration(numbers[16]+numbers[17]) * (time.Second / clockTicks),
		rss:      uint64(numbers[24]) * uint64(os.Getpagesize()),
	}, true
}

// statOf reads the stat file of a process. buf is memory for it.
func statOf(pid int, buf []byte) (stat, bool) {
	path := append(strconv.AppendInt([]byte("/proc/"), int64(pid), 10), "/stat"...)
	fd, err := unix.Open(string(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return stat{}, false
	}
	return parseStat(buf[:n])
}

// IsRunning reports whether there is a process with this pid which is not ending. A
// process counts as ending before it closes its descriptors.
func IsRunning(pid int) bool {
	s, ok := statOf(pid, make([]byte, 1024))
	return ok && !s.ended() && s.flags&exiting == 0
}

// IsStopped reports whether a signal has stopped a process.
func IsStopped(pid int) bool {
	s, ok := statOf(pid, make([]byte, 1024))
	return ok && s.state == 'T'
}

// CPUTime returns the user and system time of a process and of the children that it
// has waited for. It is 0 if there is no such process.
func CPUTime(pid int) time.Duration {
	s, _ := statOf(pid, make([]byte, 1024))
	return s.cpu + s.children
}

// LeaderOf returns the pid of the worker that a process belongs to, by its session
// or, if that is the master's, its process group. A process that has left both
// counts for itself, and so does one that is no more.
func LeaderOf(pid int) int {
	s, ok := statOf(pid, make([]byte, 1024))
	if !ok {
		return pid
	}
	if own, err := unix.Getsid(0); err != nil || s.session == own {
		return s.group
	}
	return s.session
}

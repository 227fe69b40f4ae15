package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// A stat is what /proc/PID/stat says of a process (proc_pid_stat(5)).
type stat struct {
	state                  byte // R, S, D, T, Z and others
	parent, group, session int
	cpu                    time.Duration // user and system time
	rss                    uint64        // resident memory in bytes
}

// ended reports whether the process is a zombie or dead. It then holds no
// memory.
func (s stat) ended() bool { return s.state == 'Z' || s.state == 'X' }

// clockTicks is the number of clock ticks in a second, in which the kernel
// counts CPU time for stat files. It is USER_HZ, which is 100 on every
// architecture that Go supports (sysconf(3), _SC_CLK_TCK).
const clockTicks = 100

// parseStat reads the fields 3 to 6, 14, 15 and 24 of a stat file. The second
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
	for _, field := range []int{4, 5, 6, 14, 15, 24} {
		n, err := strconv.Atoi(string(fields[field-first]))
		if err != nil || n < 0 {
			return stat{}, false
		}
		numbers[field] = n
	}
	return stat{
		state:   fields[0][0],
		parent:  numbers[4],
		group:   numbers[5],
		session: numbers[6],
		cpu:     time.Duration(numbers[14]+numbers[15]) * (time.Second / clockTicks),
		rss:     uint64(numbers[24]) * uint64(os.Getpagesize()),
	}, true
}

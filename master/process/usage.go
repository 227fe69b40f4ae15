package process

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Usage is what a living process has used so far.
type Usage struct {
	CPU time.Duration // user and system time
	RSS uint64        // bytes that are resident
}

// clockTicks is how many there are in a second where the kernel counts CPU time
// for stat files: USER_HZ, which is 100 on every architecture that Go knows
// (sysconf(3), _SC_CLK_TCK).
const clockTicks = 100

// UsageOf reads what a child of this process has used. It reports false when
// there is no such child, or it has ended: by the parent it is told from a
// stranger that has got the pid since.
//
// It is called for thousands of processes in a row, hence the plain system
// calls and the buffer, which the caller keeps for the next one.
func UsageOf(pid int, buf []byte) (Usage, bool) {
	path := append(strconv.AppendInt([]byte("/proc/"), int64(pid), 10), "/stat"...)
	fd, err := unix.Open(string(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Usage{}, false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return Usage{}, false
	}
	u, parent, ok := parseUsage(buf[:n])
	return u, ok && parent == os.Getpid()
}

// parseUsage reads the fields 4, 14, 15 and 24 of a stat file
// (proc_pid_stat(5)). A process that has ended and is not reaped holds no
// memory, and what it has used is told when it is reaped.
func parseUsage(text []byte) (u Usage, parent int, ok bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return Usage{}, 0, false
	}
	fields := bytes.Fields(text[end+1:]) // from the third on
	if len(fields) < 22 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return Usage{}, 0, false
	}
	var numbers [4]int64
	for i, field := range []int{4, 14, 15, 24} {
		n, err := strconv.ParseInt(string(fields[field-3]), 10, 64)
		if err != nil || n < 0 {
			return Usage{}, 0, false
		}
		numbers[i] = n
	}
	u.CPU = time.Duration(numbers[1]+numbers[2]) * (time.Second / clockTicks)
	u.RSS = uint64(numbers[3]) * uint64(os.Getpagesize())
	return u, int(numbers[0]), true
}

// OwnRSS returns how many bytes of this process are resident, or 0 where that
// cannot be read.
func OwnRSS() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

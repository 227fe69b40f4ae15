package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// A Usage is what a living process has used so far.
type Usage struct {
	CPU time.Duration // user and system time
	RSS uint64        // resident memory in bytes
}

// UsageOf reads what a child of this process has used. It returns false when
// there is no such process, when it has ended, and when it has another parent.
// After the end of a child, a stranger may have got its pid.
//
// The master calls it for thousands of processes in a row. So it uses plain
// system calls, and a buffer that the caller keeps for the next call.
func UsageOf(pid int, buf []byte) (Usage, bool) {
	s, ok := statOf(pid, buf)
	if !ok || s.ended() || s.parent != os.Getpid() {
		return Usage{}, false
	}
	return Usage{CPU: s.cpu, RSS: s.rss}, true
}

// OwnRSS returns the resident memory of this process in bytes. It returns 0 if
// the kernel does not tell.
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

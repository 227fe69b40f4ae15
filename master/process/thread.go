package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Thread is what /proc/TID/status says of a thread (proc_pid_status(5)).
type Thread struct {
	Process int // the process that it belongs to

	// Of signals, in the bit of each number less one.
	blocked, ignored, caught uint64
}

// ThreadOf returns what a thread is and does now.
func ThreadOf(tid int) (t Thread, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return t, err
	}
	return parseThread(text)
}

func parseThread(text []byte) (t Thread, err error) {
	for _, f := range []struct {
		name  string
		base  int
		value *uint64
	}{{"\nTgid:", 10, new(uint64)}, {"\nSigBlk:", 16, &t.blocked}, {"\nSigIgn:", 16, &t.ignored}, {"\nSigCgt:", 16, &t.caught}} {
		_, rest, _ := bytes.Cut(text, []byte(f.name))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if *f.value, err = strconv.ParseUint(string(bytes.TrimSpace(line)), f.base, 64); err != nil {
			return t, fmt.Errorf("the status of a thread: %q: %w", f.name, err)
		}
		if f.base == 10 {
			t.Process = int(*f.value)
		}
	}
	return t, nil
}

// Takes reports whether a signal has its default effect on the thread.
func (t *Thread) Takes(sig unix.Signal) bool {
	return (t.blocked|t.ignored|t.caught)>>(sig-1)&1 == 0
}

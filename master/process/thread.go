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

// statusField returns a field of a status file, or "" if there is none of the name.
func statusField(status []byte, name string) string {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(value))
}

func parseThread(text []byte) (t Thread, err error) {
	for _, f := range []struct {
		name  string
		base  int
		value *uint64
	}{{"Tgid", 10, new(uint64)}, {"SigBlk", 16, &t.blocked}, {"SigIgn", 16, &t.ignored}, {"SigCgt", 16, &t.caught}} {
		if *f.value, err = strconv.ParseUint(statusField(text, f.name), f.base, 64); err != nil {
			return t, fmt.Errorf("the status of a thread: %s: %w", f.name, err)
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

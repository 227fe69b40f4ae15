package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// machineBusy returns how long all CPUs together have done anything at all.
func machineBusy() (time.Duration, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read machine time: %w", err)
	}
	return parseBusy(content)
}

// parseBusy adds user, nice, system, irq and softirq of proc_stat(5)'s first
// line. Stolen time is the hypervisor's, guest time is in user already.
func parseBusy(content []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(content, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("read machine time: unexpected first line %q", line)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read machine time: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// AvailableMemory returns the machine's MemAvailable in bytes. Its fall while
// connections are opened is what they cost with everything the kernel keeps
// for them; it belongs to the machine, so other processes disturb it.
func AvailableMemory() (int64, error) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read available memory: %w", err)
	}
	return kilobytes(content, "MemAvailable:")
}

// kilobytes returns the value of one "Key:  123 kB" line in bytes.
func kilobytes(content []byte, key string) (int64, error) {
	for line := range bytes.Lines(content) {
		rest, found := bytes.CutPrefix(line, []byte(key))
		if !found {
			continue
		}
		fields := strings.Fields(string(rest))
		if len(fields) != 2 || fields[1] != "kB" {
			break
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s %w", key, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("read %s no such line", key)
}

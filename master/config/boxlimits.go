package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// infinity stands for no limit, as for systemd.
const infinity = "infinity"

// sizeUnits are the units of a ByteSize, the largest first.
var sizeUnits = []struct {
	letter string
	bytes  uint64
}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

// ParseByteSize parses a number of bytes, which may end with K, M, G or T for
// 1024 bytes and its powers. It returns 0 for "0".
func ParseByteSize(s string) (ByteSize, error) {
	number, unit := s, uint64(1)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.letter); ok {
			number, unit = n, u.bytes
		}
	}
	if !isDigits(number) {
		return 0, fmt.Errorf(`must be a number of bytes such as "512K", "64M" or "1G"`)
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("must be less than 2^63 bytes")
	}
	return ByteSize(n * unit), nil
}

// String formats a size with the largest unit that divides it.
func (b ByteSize) String() string {
	for _, u := range sizeUnits {
		if n := uint64(b); n > 0 && n%u.bytes == 0 {
			return strconv.FormatUint(n/u.bytes, 10) + u.letter
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}

// leastMemory is a page. The kernel rounds limits of memory down to pages, and
// with none nothing can run.
const leastMemory = 4 << 10

// parseMemory parses a limit of memory. "infinity" is 0.
func parseMemory(s string) (ByteSize, error) {
	if s == infinity {
		return 0, nil
	}
	b, err := ParseByteSize(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf(`%w, or "infinity"`, err)
	case b < leastMemory:
		return 0, fmt.Errorf(`must be at least %v; "infinity" is no limit`, ByteSize(leastMemory))
	}
	return b, nil
}

func formatMemory(b ByteSize) string {
	if b == 0 {
		return infinity
	}
	return b.String()
}

// parseSwap parses a limit of swap, of which there may be none.
func parseSwap(s string) (*ByteSize, error) {
	if s == infinity {
		return nil, nil
	}
	b, err := ParseByteSize(s)
	if err != nil {
		return nil, fmt.Errorf(`%w, or "infinity"`, err)
	}
	return &b, nil
}

func formatSwap(b *ByteSize) string {
	if b == nil {
		return infinity
	}
	return b.String()
}

func parseTmpSize(s string) (ByteSize, error) {
	b, err := ParseByteSize(s)
	if err == nil && b < leastMemory {
		return 0, fmt.Errorf("must be at least %v", ByteSize(leastMemory))
	}
	return b, err
}

// maxTasks is the highest number of processes of a kernel of 64 bits
// (PID_MAX_LIMIT in linux/threads.h).
const maxTasks = 4 << 20

func parseTasks(s string) (int, error) { return parseNumber(s, maxTasks, "") }
func formatTasks(n int) string         { return formatNumber(n, "") }

// maxQuota is the highest cpu-quota in percent: of 8192 processors, which is
// what the kernel can have (CONFIG_NR_CPUS).
const maxQuota = 8192 * 100

func parseQuota(s string) (int, error) { return parseNumber(s, maxQuota, "%") }
func formatQuota(n int) string         { return formatNumber(n, "%") }

// parseNumber parses a number from 1 with a unit after it. "infinity" is 0.
func parseNumber(s string, highest int, unit string) (int, error) {
	if s == infinity {
		return 0, nil
	}
	number, found := strings.CutSuffix(s, unit)
	n, err := strconv.Atoi(number)
	if !found || err != nil || !isDigits(number) || n < 1 || n > highest {
		return 0, fmt.Errorf(`must be from "1%s" to "%d%s", or "infinity"`, unit, highest, unit)
	}
	return n, nil
}

func formatNumber(n int, unit string) string {
	if n == 0 {
		return infinity
	}
	return strconv.Itoa(n) + unit
}

// inBytes lists the resources of setrlimit(2) that are counted in bytes.
var inBytes = []string{"as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"}

// parseLimit parses a resource limit: "soft:hard", or one value for both.
func parseLimit(resource, s string) (Limit, error) {
	softText, hardText, two := strings.Cut(s, ":")
	if !two {
		hardText = softText
	}
	soft, err := parseLimitValue(resource, softText)
	if err != nil {
		return Limit{}, err
	}
	hard, err := parseLimitValue(resource, hardText)
	if err != nil {
		return Limit{}, err
	}
	if soft > hard {
		return Limit{}, fmt.Errorf("soft must not be more than hard")
	}
	return Limit{soft, hard}, nil
}

func parseLimitValue(resource, s string) (uint64, error) {
	if s == infinity {
		return NoLimit, nil
	}
	if slices.Contains(inBytes, resource) {
		b, err := ParseByteSize(s)
		if err != nil {
			return 0, fmt.Errorf(`%w, "infinity", or "soft:hard" of them`, err)
		}
		return uint64(b), nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || !isDigits(s) {
		return 0, fmt.Errorf(`must be a number, "infinity", or "soft:hard" of them`)
	}
	return n, nil
}

func formatLimit(resource string, l Limit) string {
	value := func(n uint64) string {
		switch {
		case n == NoLimit:
			return infinity
		case slices.Contains(inBytes, resource):
			return ByteSize(n).String()
		}
		return strconv.FormatUint(n, 10)
	}
	if l.Soft == l.Hard {
		return value(l.Soft)
	}
	return value(l.Soft) + ":" + value(l.Hard)
}

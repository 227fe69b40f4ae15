package config

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPoolUser is the highest uid of a pool. The two above it are no users: the
// kernel takes 2^32-1 for "no change" (setresuid(2)), and 2^32-2 is the same for
// programs that count with signed numbers.
const maxPoolUser = math.MaxUint32 - 2

// ParseUserRange parses two uids with a "-" between them.
func ParseUserRange(s string) (UserRange, error) {
	firstText, lastText, _ := strings.Cut(s, "-")
	first, err := strconv.ParseUint(firstText, 10, 64)
	last, err2 := strconv.ParseUint(lastText, 10, 64)
	if err != nil || err2 != nil || !isDigits(firstText) || !isDigits(lastText) {
		return UserRange{}, fmt.Errorf(`must be two uids such as "%v"`, DefaultUserPool)
	}
	switch {
	case first < 1 || last > maxPoolUser:
		return UserRange{}, fmt.Errorf("must be within 1-%d", uint32(maxPoolUser))
	case first > last:
		return UserRange{}, fmt.Errorf("the first must not be more than the last")
	// 65534 is nobody (the kernel's overflow uid), and 65535 is -1 where uids
	// have 16 bits.
	case first <= 65535 && last >= 65534:
		return UserRange{}, fmt.Errorf("must not hold 65534 and 65535, which the kernel uses itself")
	}
	return UserRange{uint32(first), uint32(last)}, nil
}

func (r UserRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Size returns how many users the range has.
func (r UserRange) Size() int { return int(r.Last-r.First) + 1 }

// parsePath parses an absolute path without anything that could be left out.
func parsePath(s string) (string, error) {
	switch {
	case !strings.HasPrefix(s, "/"):
		return "", fmt.Errorf("must be an absolute path")
	case strings.ContainsRune(s, 0):
		return "", fmt.Errorf("must not hold a NUL byte")
	case len(s) >= unix.PathMax:
		return "", fmt.Errorf("has %d bytes, at most %d are allowed", len(s), unix.PathMax-1)
	case path.Clean(s) != s:
		return "", fmt.Errorf("must be written %s", quoted(path.Clean(s)))
	}
	return s, nil
}

// mayBeMissing stands before a path that need not exist, as in systemd.exec(5).
const mayBeMissing = "-"

// parseListedPath parses a path that may be missing.
func parseListedPath(s string) (string, error) {
	path, optional := strings.CutPrefix(s, mayBeMissing)
	path, err := parsePath(path)
	if err == nil && optional {
		path = mayBeMissing + path
	}
	return path, err
}

func parseOptionalPath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parsePath(s)
}

// parseBindPath parses "source", "source:target" and "source:target:ro", also
// with "rw". A source may be missing.
func parseBindPath(s string) (BindPath, error) {
	parts := strings.Split(s, ":")
	var b BindPath
	if last := len(parts) - 1; last > 0 && (parts[last] == "ro" || parts[last] == "rw") {
		b.ReadOnly = parts[last] == "ro"
		parts = parts[:last]
	}
	if len(parts) > 2 {
		return BindPath{}, fmt.Errorf(`must be "source", "source:target" or "source:target:ro"`)
	}
	var err error
	if b.Source, err = parseListedPath(parts[0]); err != nil {
		return BindPath{}, fmt.Errorf("source %w", err)
	}
	target := parts[len(parts)-1]
	if len(parts) == 1 {
		target = strings.TrimPrefix(target, mayBeMissing)
	}
	if b.Target, err = parsePath(target); err != nil {
		return BindPath{}, fmt.Errorf("target %w", err)
	}
	return b, nil
}

func (b BindPath) String() string {
	switch {
	case b.ReadOnly:
		return b.Source + ":" + b.Target + ":ro"
	case strings.TrimPrefix(b.Source, mayBeMissing) == b.Target:
		return b.Source
	}
	return b.Source + ":" + b.Target
}

// parseProcessors parses numbers of processors and ranges of them, "0-3,8", as
// taskset(1) and the files of sysfs have them. The empty string is none.
func parseProcessors(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var list []int
	for part := range strings.SplitSeq(s, ",") {
		firstText, lastText, isRange := strings.Cut(part, "-")
		if !isRange {
			lastText = firstText
		}
		first, err := strconv.Atoi(firstText)
		last, err2 := strconv.Atoi(lastText)
		switch {
		case err != nil || err2 != nil || !isDigits(firstText) || !isDigits(lastText) || first > last:
			return nil, fmt.Errorf(`must be processors such as "0-3,8"`)
		case last >= maxProcessors:
			return nil, fmt.Errorf("must be processors below %d", maxProcessors)
		}
		for n := first; n <= last; n++ {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// maxProcessors is how many processors fit into unix.CPUSet.
const maxProcessors = 1024

func formatProcessors(list []int) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		end := i
		for end+1 < len(list) && list[end+1] == list[end]+1 {
			end++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(list[i]))
		if end > i {
			b.WriteString("-" + strconv.Itoa(list[end]))
		}
		i = end + 1
	}
	return b.String()
}

// parseIOClass parses a class of ioprio_set(2), with its level where it has one.
func parseIOClass(s string) (string, error) {
	class, level, hasLevel := strings.Cut(s, ":")
	n, err := strconv.Atoi(level)
	valid := !hasLevel || err == nil && len(level) == 1 && n <= 7 && class != "idle" && class != ""
	if !valid || !slices.Contains([]string{"", "realtime", "best-effort", "idle"}, class) {
		return "", fmt.Errorf(`must be realtime, best-effort or idle; the first two may have a level from ":0" to ":7"`)
	}
	return s, nil
}

// A PenaltyLimit is a limit of a box that a connection can meet.
type PenaltyLimit string

const (
	PenaltyOOM      PenaltyLimit = "oom"
	PenaltyTasks    PenaltyLimit = "tasks"
	PenaltyCPU      PenaltyLimit = "cpu"
	PenaltyRuntime  PenaltyLimit = "runtime"
	PenaltyFileSize PenaltyLimit = "file-size"
	PenaltyDenied   PenaltyLimit = "denied"
)

func parsePenaltyLimit(s string) (PenaltyLimit, error) {
	switch l := PenaltyLimit(s); l {
	case PenaltyOOM, PenaltyTasks, PenaltyCPU, PenaltyRuntime, PenaltyFileSize, PenaltyDenied:
		return l, nil
	}
	return "", fmt.Errorf("must be oom, tasks, cpu, runtime, file-size or denied")
}

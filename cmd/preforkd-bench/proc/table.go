package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of times in /proc. USER_HZ is 100 on every architecture
// that Go runs on (time(7)).
const tick = time.Second / 100

// A stat is the part of one process's /proc/PID/stat that is used here.
type stat struct {
	pid, parent int
	state       byte          // 'Z' is a process that has ended and was not reaped
	reaped      time.Duration // CPU time of the children it has reaped, and theirs
}

// parseStat parses the contents of a stat file. The name of the program is in
// parentheses and can hold anything, parentheses included, so the fields are
// counted from the last one that closes.
func parseStat(content []byte) (stat, error) {
	open, end := bytes.IndexByte(content, '('), bytes.LastIndexByte(content, ')')
	if open < 1 || end < open {
		return stat{}, fmt.Errorf("parse process stat: no program name in %q", content)
	}
	fields := bytes.Fields(content[end+1:])
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("parse process stat: %d fields after the name, want at least 15", len(fields))
	}
	var bad error
	number := func(b []byte) int64 {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		if err != nil && bad == nil {
			bad = fmt.Errorf("parse process stat: %w", err)
		}
		return n
	}
	ticks := func(field int) time.Duration { return time.Duration(number(fields[field])) * tick }
	s := stat{
		pid:    int(number(content[:open])),
		state:  fields[0][0],
		parent: int(number(fields[1])),
		reaped: ticks(13) + ticks(14),
	}
	return s, bad
}

// A table is one look at all processes, by pid.
type table map[int]stat

// readTable reads the process table. Processes that end during the look are
// simply not in it.
func readTable() (table, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("read process table: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read process table: %w", err)
	}
	t := make(table, len(names))
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		content, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		s, err := parseStat(content)
		if err != nil {
			return nil, err
		}
		t[s.pid] = s
	}
	return t, nil
}

// descendants returns the pids of everything below root, root excluded.
func (t table) descendants(root int) []int {
	children := make(map[int][]int)
	for pid, s := range t {
		children[s.parent] = append(children[s.parent], pid)
	}
	var found []int
	for queue := []int{root}; len(queue) > 0; {
		next := children[queue[0]]
		queue = append(queue[1:], next...)
		found = append(found, next...)
	}
	return found
}

package proc

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

// tick is the unit of times in /proc. USER_HZ is 100 on every architecture
// that Go runs on (time(7)).
const tick = time.Second / 100

// A stat is the part of one process's /proc/PID/stat that is used here.
type stat struct {
	parent int
	zombie bool          // it has ended and was not reaped
	reaped time.Duration // CPU time of the children it has reaped, and theirs
}

// A table is one look at all processes, by pid.
type table map[int]stat

// readTable reads the process table. Processes that end during the look are
// simply not in it.
func readTable() (table, error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("read process table: %w", err)
	}
	t := make(table, len(processes))
	for _, p := range processes {
		s, err := p.Stat()
		if err != nil {
			continue
		}
		t[p.PID] = stat{parent: s.PPID, zombie: s.State == "Z", reaped: time.Duration(s.CUTime+s.CSTime) * tick}
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

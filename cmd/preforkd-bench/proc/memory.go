package proc

import (
	"fmt"
	"os"
)

// Memory is what a server's processes occupy, in bytes, as proportional set
// size: a page that n processes share counts a nth for each.
type Memory struct {
	Master     int64 // the tree's first process
	MasterData int64 // its private pages only: they do not shrink when others share more
	Workers    int64 // all others together
	Count      int   // how many others
}

// Memory reads what the server's processes occupy now.
func (t *Tree) Memory() (Memory, error) {
	processes, err := readTable()
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for _, pid := range t.family(processes) {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil || len(content) == 0 {
			continue // ended since the look, or a zombie
		}
		pss, err := kilobytes(content, "Pss:")
		if err != nil {
			return Memory{}, err
		}
		if pid != t.pid {
			m.Workers += pss
			m.Count++
			continue
		}
		m.Master = pss
		for _, key := range []string{"Private_Clean:", "Private_Dirty:"} {
			n, err := kilobytes(content, key)
			if err != nil {
				return Memory{}, err
			}
			m.MasterData += n
		}
	}
	return m, nil
}

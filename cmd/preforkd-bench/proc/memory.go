package proc

import (
	"github.com/prometheus/procfs"
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
		p, err := procfs.NewProc(pid)
		if err != nil {
			continue // ended since the look
		}
		maps, err := p.ProcSMapsRollup()
		if err != nil || maps.Rss == 0 {
			continue // ended since the look, or a zombie
		}
		if pid != t.pid {
			m.Workers += int64(maps.Pss)
			m.Count++
			continue
		}
		m.Master = int64(maps.Pss)
		m.MasterData = int64(maps.PrivateClean + maps.PrivateDirty)
	}
	return m, nil
}

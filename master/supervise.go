package master

import (
	"fmt"
	"time"
)

// beatAtMost is the longest time between two looks at how the master is that
// the manager is told of. Nobody who reads a status can tell the difference.
const beatAtMost = 2 * time.Second

// startBeat starts the ticker by which the manager is kept informed. Without a
// manager there is none.
func (m *Master) startBeat() (stop func()) {
	if m.manager == nil {
		return func() {}
	}
	interval := beatAtMost
	if w := m.manager.Watchdog(); w > 0 {
		// Half of it would do (sd_watchdog_enabled(3)); a busy machine may be
		// late.
		interval = min(interval, w/4)
	}
	ticker := time.NewTicker(interval)
	m.beat = ticker.C
	return ticker.Stop
}

// beats tells the manager that the master makes progress. It is a step of the
// loop, so a loop that hangs is silent; and the reaper has come to its end
// before, so that one that hangs is silent, too.
func (m *Master) beats() {
	m.reap()
	m.manager.Alive()
	if m.stop.phase != running {
		m.manager.Extend(stopStep)
	}
	m.tellStatus()
}

// stopStep is how much time is asked for at once while the master stops. The
// stop itself is bounded by drain-timeout and kill-delay.
const stopStep = 15 * time.Second

// tellStatus tells the manager how the master is, if that has changed.
func (m *Master) tellStatus() {
	if m.manager == nil {
		return
	}
	all := m.sums()
	status := fmt.Sprintf("%v: %d connections live, %d spawned, %d refused", m.stop.phase, all.live(), m.workers, all.refused)
	if m.notReloaded != "" {
		status += "; not reloaded: " + m.notReloaded
	}
	if status != m.toldStatus {
		m.manager.Status(status)
		m.toldStatus = status
	}
}

package master

import (
	"fmt"
	"time"

	"github.com/preforkd/preforkd/master/systemd"
)

// A notifier keeps the service manager informed (sd_notify(3)). Without a
// manager it does nothing.
type notifier struct {
	manager *systemd.Manager
	ticker  *time.Ticker // nil without a manager
	status  string       // what the manager was told last
}

const (
	// notifyInterval is the maximum interval between two status messages.
	// Nobody who reads a status can tell the difference.
	notifyInterval = 2 * time.Second
	// stopExtension is how much time is asked for at once while the master
	// stops. The stop itself is bounded by drain-timeout and kill-delay.
	stopExtension = 15 * time.Second
)

func (n *notifier) ready()                 { n.manager.Ready() }
func (n *notifier) reloading()             { n.manager.Reloading() }
func (n *notifier) stopping()              { n.manager.Stopping() }
func (n *notifier) extend(d time.Duration) { n.manager.Extend(d) }

// startWatchdog has watchdog tell when the manager is to be informed.
func (n *notifier) startWatchdog() {
	if n.manager == nil {
		return
	}
	interval := notifyInterval
	if w := n.manager.Watchdog(); w > 0 {
		// Half of it would do (sd_watchdog_enabled(3)); a busy machine may be
		// late.
		interval = min(interval, w/4)
	}
	n.ticker = time.NewTicker(interval)
}

func (n *notifier) stopWatchdog() {
	if n.ticker != nil {
		n.ticker.Stop()
	}
}

// watchdog returns a channel that has something when the manager is to be
// informed; nil without a manager.
func (n *notifier) watchdog() <-chan time.Time {
	if n.ticker == nil {
		return nil
	}
	return n.ticker.C
}

// notifyWatchdog tells the manager that the master makes progress. It is a step
// of the loop, so a loop that hangs is silent. It reaps first, so one that does
// not come to an end with that is silent, too.
func (m *Master) notifyWatchdog() {
	m.reap()
	m.notify.manager.Alive()
	if m.phase.is() != running {
		m.notify.extend(stopExtension)
	}
	m.notifyStatus()
}

// notifyStatus tells the manager how the master is, if that has changed.
func (m *Master) notifyStatus() {
	n := &m.notify
	if n.manager == nil {
		return
	}
	all := m.services.totals()
	status := fmt.Sprintf("%v: %d connections live, %d spawned, %d refused", m.phase.is(), all.Live(), m.workers.Started(), all.Refused)
	if problem := m.reloads.problem(); problem != "" {
		status += "; " + problem
	} else if m.reloads.failed != "" {
		status += "; not reloaded: " + m.reloads.failed
	}
	if status != n.status && n.manager.Status(status) {
		n.status = status
	}
}

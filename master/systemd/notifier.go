package systemd

import (
	"os"
	"time"
)

// notifyInterval is the maximum interval between two status messages. Nobody who
// reads a status can tell the difference.
const notifyInterval = 2 * time.Second

// A Notifier keeps the service manager informed of the master (sd_notify(3)). It
// owns the time of the next report and the last status that the manager was told.
// The master's loop owns it. Without a manager it does nothing.
type Notifier struct {
	manager *Manager
	ticker  *time.Ticker // nil before Start, and without a manager
	status  string       // what the manager was told last
}

// NewNotifier returns a Notifier for a manager, nil for none. The caller keeps the
// manager, and closes it.
func NewNotifier(manager *Manager) *Notifier { return &Notifier{manager: manager} }

// HasManager reports whether there is a service manager.
func (n *Notifier) HasManager() bool { return n.manager != nil }

// Ready is Manager.Ready.
func (n *Notifier) Ready() { n.manager.Ready() }

// Reloading is Manager.Reloading.
func (n *Notifier) Reloading() { n.manager.Reloading() }

// flushTimeout is how long Upgrading waits for a manager that does not read.
const flushTimeout = time.Second

// Upgrading is Manager.Upgrading, and has the manager store what the next process of the
// service is told if this one dies meanwhile. On error another program would not know what
// the manager still has to be told. trace stays the caller's. NotUpgrading takes it back.
func (n *Notifier) Upgrading(trace *os.File) error {
	n.manager.Upgrading()
	if err := n.manager.Store(UpgradeName, int(trace.Fd())); err != nil {
		return err
	}
	n.status = statusUpgrading
	return n.manager.Flush(flushTimeout)
}

// NotUpgrading has the manager forget what it was told to store by Upgrading.
func (n *Notifier) NotUpgrading() { n.manager.Remove(UpgradeName) }

// Stopping is Manager.Stopping.
func (n *Notifier) Stopping() { n.manager.Stopping() }

// Extend is Manager.Extend.
func (n *Notifier) Extend(d time.Duration) { n.manager.Extend(d) }

// Alive is Manager.Alive.
func (n *Notifier) Alive() { n.manager.Alive() }

// Status tells the state of the master in one line for people, unless the manager
// was told the same last.
func (n *Notifier) Status(text string) {
	if text != n.status && n.manager.Status(text) {
		n.status = text
	}
}

// Start begins the reports. The caller must call Stop.
func (n *Notifier) Start() {
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

// Stop ends the reports.
func (n *Notifier) Stop() {
	if n.ticker != nil {
		n.ticker.Stop()
	}
}

// Due returns a channel that has something when a report is due: Alive and Status.
// Before Start, and without a manager, it is nil, so that nothing is ever due.
func (n *Notifier) Due() <-chan time.Time {
	if n.ticker == nil {
		return nil
	}
	return n.ticker.C
}

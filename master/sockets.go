package master

import (
	"time"

	"github.com/preforkd/preforkd/master/endpoints"
)

// replaceListeners retires listeners, in the place of which others accept by now.
// The service manager forgets those first: new ones may have the same names there.
func (m *Master) replaceListeners(closed []*endpoints.Listener) {
	m.endpoints.Retire(closed)
	m.endpoints.Store(m.endpoints.All())
	m.updateSocketTicker()
}

// checkSockets closes listeners that were replaced when nobody waits there any
// more, and replaces those whose interface was made anew.
func (m *Master) checkSockets(now time.Time) {
	opened, closed := m.endpoints.Check(now)
	for _, l := range opened {
		m.acceptor.Start(l)
	}
	m.replaceListeners(closed)
}

// updateSocketTicker has sockets checked as long as there is something to check.
func (m *Master) updateSocketTicker() {
	if d := m.endpoints.CheckInterval(); d > 0 {
		m.loop.sockets.Reset(d)
	} else {
		m.loop.sockets.Stop()
	}
}

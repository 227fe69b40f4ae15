package master

import (
	"time"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// A snapshot is what the loop knows, copied at one moment between two events.
// Nothing in it changes afterwards.
type snapshot struct {
	status    control.Status
	listeners [][]*listener   // of each service of the status
	sockets   []sockdiag.Pair // of each connection of the status; zero for unix sockets
	health    []health        // of each service of the status
	server    *control.Server
	missing   error // why there is no control server where there should be one
}

// A health is what may be wrong with a service.
type health struct {
	spawn    time.Time // when a spawn last failed, if none has succeeded since
	cause    cause
	shortage time.Time // when accepting last had to wait for resources
	failing  bool      // spares that were started have been of no use
	missing  int       // spares below the least
	least    int
}

// snapshot copies what the loop knows. It takes a time that is in proportion to
// the number of workers, a fraction of a millisecond for a thousand, and looks
// nothing up. Without the connections it takes next to none.
func (m *Master) snapshot(now time.Time, connections bool) *snapshot {
	m.takeSpawns()
	s := &snapshot{server: m.control.server, missing: m.control.missing}
	s.status.Taken = now
	s.status.Services = make([]control.Service, 0, len(m.services))
	if connections {
		// Before the counts: accept goroutines go on giving connections to
		// spares, and none is to be shown that is not counted.
		s.status.Connections = make([]control.Connection, 0, len(m.table.workers))
		for pid, w := range m.table.workers {
			if c, socket, ok := m.showConnection(pid, w); ok {
				s.status.Connections = append(s.status.Connections, c)
				s.sockets = append(s.sockets, socket)
			}
		}
	}
	all := m.past
	sums := map[*books]sums{}
	for _, b := range m.books {
		sums[b] = b.sums()
		all.add(sums[b])
	}
	s.status.Master = control.Master{State: m.stop.phase.String(), Live: all.live(), Counts: all.show()}
	for _, service := range m.services {
		m.showService(s, service, sums[service.books])
	}
	return s
}

func (s sums) show() control.Counts {
	return control.Counts{Accepted: s.accepted, Refused: s.refused, Failed: s.failed, Reaped: s.reaped}
}

func (m *Master) showService(s *snapshot, service *service, sums sums) {
	counts := service.gate.Counts()
	shown := control.Service{
		Name:            service.Name,
		Handler:         service.Handler,
		Handoff:         string(service.Handoff),
		State:           m.stateOf(service, sums.live()),
		Live:            sums.live(),
		Limit:           counts.Limit,
		Slots:           counts.Held + counts.Reserved,
		Counts:          sums.show(),
		RefusedByReason: map[string]uint64{},
		FailedByCause:   map[string]uint64{},
		Sources:         counts.Sources,
		Penalized:       counts.Penalized,
		SpawnLatency:    service.spawns.show(),
		HandoverLatency: service.handovers.show(),
		Work:            service.work.show(),
		Listeners:       []control.Listener{},
	}
	if len(service.Program) > 0 {
		shown.Handler = service.Program[0]
	}
	for reason, n := range counts.Refused {
		if n > 0 {
			shown.RefusedByReason[admit.Reason(reason).String()] = n
		}
	}
	for cause, n := range service.failed {
		if n > 0 {
			shown.FailedByCause[causeNames[cause]] = n
		}
	}
	h := health{spawn: service.failedAt, cause: service.failedFor}
	if at := service.shortage.Load(); at > 0 {
		h.shortage = time.Unix(0, at)
	}
	if service.MaxSpares > 0 {
		ready, starting := service.pool.counts()
		shown.Spares = &control.Spares{Ready: ready, Starting: starting, Min: service.MinSpares, Max: service.MaxSpares}
		if !service.drained {
			h.failing, h.missing, h.least = service.pool.isFailing(), service.MinSpares-ready, service.MinSpares
		}
	}
	for _, l := range service.listeners {
		shown.Listeners = append(shown.Listeners, control.Listener{Local: l.Local()})
	}
	s.status.Services = append(s.status.Services, shown)
	s.listeners = append(s.listeners, service.listeners)
	s.health = append(s.health, h)
}

// The states of a service.
const (
	stateServing  = "serving"
	stateDraining = "draining"
	stateDrained  = "drained"
)

func (m *Master) stateOf(s *service, live uint64) string {
	switch {
	case !s.drained && m.stop.phase == running:
		return stateServing
	case live > 0:
		return stateDraining
	}
	return stateDrained
}

// showConnection returns the connection that a worker has, if it has one, and
// the two ends of its socket.
func (m *Master) showConnection(pid int, w *worker) (control.Connection, sockdiag.Pair, bool) {
	p := w.service.pool
	p.mu.Lock()
	c, state := w.conn, w.state
	p.mu.Unlock()
	if c == nil {
		return control.Connection{}, sockdiag.Pair{}, false
	}
	shown := control.Connection{
		ID: c.id, Service: c.service.Name, PID: pid, Peer: c.peerName(), Local: c.local, Via: c.privacy.viaName(c.conn),
		State: state.String(), Since: c.accepted,
	}
	if state == retiring || state == broken || w.signalled || !w.warned.IsZero() || m.stop.signal() != 0 {
		shown.State = "ending"
	}
	return shown, c.conn.Socket, true
}

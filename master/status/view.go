package status

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/sockdiag"
	"github.com/preforkd/preforkd/master/spawner"
	"github.com/preforkd/preforkd/master/workers"
)

// The states of a service.
const (
	Serving  = "serving"
	Draining = "draining"
	Drained  = "drained"
)

// Rooms is where a View comes from. The loop fills it in.
type Rooms struct {
	Services   []*service.Service // in force, in the order of the configuration
	Totals     ledger.Totals      // of services that are no more
	Unused     []*service.Service // not in force, with live connections
	Workers    *workers.Set
	Endpoints  *endpoints.Set
	Dispatcher *dispatch.Dispatcher

	State    string      // of the master
	Stopping bool        // services come to an end
	Signal   unix.Signal // that the workers were sent to stop, or 0

	NotReloaded   string // why the last reload has changed nothing, or ""
	ReloadProblem string // why reloads do not come to an end, or ""

	Upgrades control.Upgrades

	Control      *control.Server // nil: there is none
	ControlError error           // why there is no control socket where there should be one
}

// A View is what the loop knows, copied between two events. Nothing in it changes
// afterwards.
type View struct {
	status       control.Status
	listeners    [][]*endpoints.Listener // of each service of the status
	sockets      []sockdiag.Pair         // of each connection of the status; zero for unix sockets
	health       []health                // of each service of the status
	unwatched    error
	control      *control.Server
	controlError error
	reload       string // Rooms.ReloadProblem
}

// A health is what may be wrong with a service.
type health struct {
	trouble  ledger.Trouble
	shortage time.Time // when accepting last had to wait for resources
	failing  bool      // spares that were started have been of no use
	missing  int       // spares below the minimum
	min      int
	// clientsGone counts connections whose clients have gone for too long.
	clientsGone int
	stalled     []spawner.Stall // its programs of which starts hang
	idleUnknown error           // why idle-timeout is not enforced, or nil
	stopped     int             // workers that are stopped by a signal
	example     string          // one of them
	// unreachable says of which listeners, and why. addSockets fills it in.
	unreachable []string
}

// Collect copies what the loop knows, on the loop. It takes a time in proportion
// to the number of workers, a fraction of a millisecond for a thousand, and looks
// nothing up. Without the connections it takes next to none.
func Collect(r *Rooms, now time.Time, connections bool) *View {
	v := &View{control: r.Control, controlError: r.ControlError, reload: r.ReloadProblem}
	v.status.Taken = now
	v.status.Services = make([]control.Service, 0, len(r.Services))
	if connections {
		// Before the counts: accept goroutines go on giving connections to
		// spares, and no connection may be shown that is not counted.
		v.status.Connections = make([]control.Connection, 0, r.Workers.Len())
		for w := range r.Workers.All() {
			if c, socket, ok := connection(w, r.Signal != 0); ok {
				v.status.Connections = append(v.status.Connections, c)
				v.sockets = append(v.sockets, socket)
			}
		}
	}
	if connections {
		for w := range r.Workers.Leaving() {
			if c, socket, ok := connection(w, false); ok {
				c.State = "leftovers"
				v.status.Connections = append(v.status.Connections, c)
				v.sockets = append(v.sockets, socket)
			}
		}
	}
	v.unwatched = r.Workers.Unwatched()
	all := r.Totals
	for _, s := range r.Unused {
		all.Add(s.Totals())
	}
	for _, s := range r.Services {
		totals := s.Totals()
		all.Add(totals)
		v.addService(r, s, totals)
	}
	for w := range r.Workers.Stopped() {
		v.addStopped(w, r.Services)
	}
	v.status.Master = control.Master{
		State: r.State, NotReloaded: r.NotReloaded, Live: all.Live(), Counts: all.Show(),
		Upgrades: r.Upgrades, Generation: r.Upgrades.Generation(),
	}
	return v
}

func (v *View) addService(r *Rooms, s *service.Service, totals ledger.Totals) {
	spec, counts := s.Spec(), s.Gate.Counts()
	shown := control.Service{
		Name:            s.Name,
		Handler:         spec.Handler,
		Handoff:         string(spec.Handoff),
		State:           StateOf(s, r.Stopping, totals.Live()),
		Live:            totals.Live(),
		Limit:           counts.Limit,
		Slots:           counts.Held + counts.Reserved,
		Counts:          totals.Show(),
		RefusedByReason: map[string]uint64{},
		Sources:         counts.Sources,
		Penalized:       counts.Penalized,
		Listeners:       []control.Listener{},
	}
	since, total := s.Congestion.State(v.status.Taken)
	if shown.FullSeconds = total.Seconds(); !since.IsZero() {
		shown.FullSince = &since
	}
	s.Ledger.Show(&shown)
	if len(spec.Program) > 0 {
		shown.Handler = spec.Program[0]
	}
	for reason, n := range counts.Refused {
		if n > 0 {
			shown.RefusedByReason[admit.Reason(reason).String()] = n
		}
	}
	h := health{trouble: s.Ledger.Trouble(), shortage: s.Ledger.Shortage(), idleUnknown: s.IdleUnknown.Reason(),
		clientsGone: r.Workers.ClientsGone(s, v.status.Taken.Add(-goneTrouble))}
	if spec.MaxSpares > 0 {
		pool := r.Dispatcher.Pool(spec)
		ready, starting := pool.Counts()
		shown.Spares = &control.Spares{Ready: ready, Starting: starting, Min: spec.MinSpares, Max: spec.MaxSpares}
		if !s.Draining() {
			h.failing, h.missing, h.min = pool.Failing(), spec.MinSpares-ready, spec.MinSpares
		}
	}
	shown.Box = boxOf(spec)
	for _, stall := range r.Dispatcher.Stalled() {
		if slices.Contains(spec.Programs(), stall.Program) {
			h.stalled = append(h.stalled, stall)
		}
	}
	listeners := r.Endpoints.Of(s.Name)
	for _, l := range listeners {
		shown.Listeners = append(shown.Listeners, control.Listener{Local: l.Local()})
	}
	v.status.Services = append(v.status.Services, shown)
	v.listeners = append(v.listeners, listeners)
	v.health = append(v.health, h)
}

// boxOf returns what a service's workers run in, nil if it asks for nothing.
func boxOf(spec *service.Spec) *control.Box {
	if spec.Service.Box.IsZero() {
		return nil
	}
	b := &control.Box{Summary: spec.Service.Box.Summary(), Missing: []control.MissingKey{}}
	for _, m := range spec.MissingFromBox() {
		b.Missing = append(b.Missing, control.MissingKey{Key: m.Key, Reason: m.Need() + ": " + m.Remedy})
	}
	return b
}

// addStopped counts a worker that is stopped by a signal.
func (v *View) addStopped(w *workers.Worker, services []*service.Service) {
	i := slices.Index(services, w.Owner())
	if i < 0 || w.Ending() {
		return
	}
	h := &v.health[i]
	h.stopped++
	h.example = fmt.Sprintf("pid %d by %s", w.PID(), logging.SignalName(w.StoppedBy()))
}

// StateOf returns the state of a service with so many live connections. stopping
// says that the whole master comes to an end.
func StateOf(s *service.Service, stopping bool, live uint64) string {
	switch {
	case !stopping && !s.Draining():
		return Serving
	case live > 0:
		return Draining
	}
	return Drained
}

// connection returns the connection that a worker has, if it has one, and the
// two ends of its socket.
func connection(w *workers.Worker, ending bool) (control.Connection, sockdiag.Pair, bool) {
	state, c := w.Standing()
	if c == nil {
		return control.Connection{}, sockdiag.Pair{}, false
	}
	shown := control.Connection{
		ID: c.ID, Service: c.Owner().Name, PID: w.PID(), Peer: c.PeerName(), Local: c.Local, Via: c.ViaName(),
		State: state.String(), Since: c.Accepted,
	}
	if version := w.Version(); version != ipc.Version {
		shown.Version = version
	}
	if at := w.ClientGone(); !at.IsZero() {
		shown.State, shown.ClientGone = "gone", &at
	}
	switch {
	case ending || w.Ending():
		shown.State = "ending"
	case w.StoppedBy() != 0:
		shown.State = "stopped"
	}
	return shown, c.Socket(), true
}

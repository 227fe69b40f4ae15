package master

import (
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/learning"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/memory"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/stderr"
)

// services are the ones in force, and those that are no longer and have live
// connections.
type services struct {
	null *os.File // /dev/null, for workers
	// umaskErr says why no worker can have a umask of its own.
	umaskErr error
	stderr   *stderr.Outputs   // for workers
	binaries *process.Binaries // for workers
	boxes    *box.Manager      // for workers; nil in tests without processes
	log      *zap.Logger
	cfg      config.Config      // in force, without its services
	inForce  []*service.Service // in the order of the configuration
	// generation is how many configurations were put in force. Services in force have
	// it, too: there may be thousands to be looked up.
	generation uint64
	byName     map[string]*service.Service // those that there are and were
	retired    ledger.Totals               // of those that were deleted
	learning   learning.Set
	memory     *memory.Return
	redact     *redact.Policy
}

func newServices(cfg config.Config, log *logging.Logger) (services, error) {
	// For writing, too: a worker may try.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	reopened := func(err error) {
		log.Warn("a worker has shut down the stderr of all", logging.Error(err))
	}
	return services{
		null: null, stderr: stderr.NewOutputs(os.Stderr, log.Raw, process.LeaderOf, reopened), binaries: process.NewBinaries(),
		log: log.Logger, cfg: cfg, byName: map[string]*service.Service{}, generation: 1, learning: learning.Set{}, memory: &memory.Return{}, redact: &redact.Policy{},
	}, err
}

func (s *services) close() {
	s.null.Close()
	s.stderr.Close()
	s.binaries.Close()
}

func (s *services) closeBoxes() {
	if s.boxes != nil {
		s.boxes.Close()
	}
}

// useBoxes tells which boxes the services in force have.
func (s *services) useBoxes() {
	if s.boxes == nil {
		return
	}
	var used []process.Box
	for _, svc := range s.inForce {
		used = append(used, svc.Spec().ProcessBoxes()...)
	}
	s.boxes.Use(used)
}

// isInForce reports whether a service is part of the configuration in force.
func (s *services) isInForce(svc *service.Service) bool { return svc.Generation == s.generation }

// use puts the services of a configuration in force, and returns those before.
func (s *services) use(cfg config.Config, inForce []*service.Service) (before []*service.Service) {
	before = s.inForce
	s.cfg, s.inForce = cfg, inForce
	s.generation++
	for _, svc := range inForce {
		svc.Generation = s.generation
	}
	return before
}

// unused returns the services that are no longer in force.
func (s *services) unused() (unused []*service.Service) {
	for _, svc := range s.byName {
		if !s.isInForce(svc) {
			unused = append(unused, svc)
		}
	}
	return unused
}

// totals returns the counts of all services that there are and were.
func (s *services) totals() ledger.Totals {
	all := s.retired
	for _, svc := range s.byName {
		all.Add(svc.Totals())
	}
	return all
}

// named returns the service in force of a name.
func (s *services) named(name string) (*service.Service, error) {
	var names []string
	for _, svc := range s.inForce {
		if svc.Name == name {
			return svc, nil
		}
		names = append(names, svc.Name)
	}
	return nil, control.Errorf(control.NotFound, "there is no service %q; there is %s", name, strings.Join(names, ", "))
}

// assign gives each Spec to the service of its name, which is made if there is
// none. A Spec that says what the one in force says already is replaced by that
// one, so that its spares and workers stay; after a drain there are none.
func (s *services) assign(c *compiled) []*service.Service {
	assigned := make([]*service.Service, len(c.specs))
	for i, spec := range c.specs {
		svc := s.byName[spec.Name]
		if svc == nil {
			svc = service.New(spec.Name, spec.Policy(), s.log)
		}
		assigned[i] = svc
		now := svc.Spec()
		switch {
		case s.isInForce(svc) && !svc.Draining() && c.insteadOf[spec] != now && now.Equal(spec):
			c.specs[i] = now
			continue
		case s.staysDrained(c, svc):
		case spec.Owner() != nil: // it was in force
			c.specs[i] = spec.Renew()
		}
		svc.SetOwner(c.specs[i])
	}
	return assigned
}

// staysDrained reports whether a service is drained, and goes on to be so with a
// configuration.
func (s *services) staysDrained(c *compiled, svc *service.Service) bool {
	return c.keepsDrains && s.isInForce(svc) && svc.Draining()
}

// dropUnused deletes the services that were in neither of the last two
// configurations and have no live connection. Their totals are kept.
func (s *services) dropUnused() (dropped []*service.Service) {
	for _, svc := range s.unused() {
		if totals := svc.Totals(); totals.Live() == 0 && svc.Generation+1 != s.generation {
			s.retired.Add(totals)
			delete(s.byName, svc.Name)
			dropped = append(dropped, svc)
		}
	}
	return dropped
}

// A change is what install has done.
type change struct {
	added, changed, removed []*service.Service
	opened, closed          []*endpoints.Listener
}

// isEmpty reports whether nothing is different.
func (c *change) isEmpty() bool {
	return len(c.added)+len(c.changed)+len(c.removed)+len(c.opened)+len(c.closed) == 0
}

// show returns what operators see of it.
func (c *change) show() control.Reloaded {
	name := func(s *service.Service) string { return s.Name }
	local := func(l *endpoints.Listener) string { return l.Local() }
	return control.Reloaded{
		Added: names(c.added, name), Changed: names(c.changed, name), Removed: names(c.removed, name),
		Opened: names(c.opened, local), Closed: names(c.closed, local),
	}
}

// install puts a configuration in force, at the start and on a reload. It binds
// and swaps, and does not wait: everything else was done when the configuration
// was compiled. What can fail comes first, and on error nothing has changed.
func (m *Master) install(c *compiled) (ch change, err error) {
	assigned := m.services.assign(c)
	var listening []*service.Spec
	for i, spec := range c.specs {
		if !m.services.staysDrained(c, assigned[i]) {
			listening = append(listening, spec)
		}
	}
	plan, err := m.endpoints.Plan(listening, m.admin.Leaving(c.admin)...)
	if err != nil {
		return ch, err
	}
	servers, err := m.admin.Open(c.admin, plan.Leaving())
	if err != nil {
		plan.Discard()
		return ch, err
	}
	m.admin.Swap(servers)

	now := time.Now()
	var outdated []*service.Spec
	var specs []*service.Spec // that are new
	for i, svc := range assigned {
		switch old := svc.Spec(); {
		case m.services.staysDrained(c, svc):
			svc.Replace(c.specs[i])
			continue
		case !m.services.isInForce(svc):
			ch.added = append(ch.added, svc)
			m.services.byName[svc.Name] = svc
		case old != c.specs[i]:
			ch.changed = append(ch.changed, svc)
			outdated = append(outdated, old)
		default:
			continue
		}
		specs = append(specs, c.specs[i])
		m.dispatcher.Open(c.specs[i])
	}
	before := m.services.use(c.cfg, assigned)
	m.services.redact.Set(c.cfg.LogPeer)
	// Listeners change hands before limits change: whoever waits for a slot
	// then looks for one of the service that the listener is for now.
	var left []*service.Service
	ch.opened = plan.Opened
	ch.closed, left = m.endpoints.Commit(plan)
	for _, spec := range specs {
		spec.Owner().Install(spec, now)
		m.acceptor.Resume(spec.Owner())
	}
	m.services.useBoxes()
	service.LogMissing(m.services.inForce, m.log.Logger)
	for _, svc := range left {
		svc.Gate.WakeAll()
	}
	for _, spec := range outdated {
		m.dispatcher.Close(spec, now) // its spares are of no more use
	}
	for _, svc := range before {
		if !m.services.isInForce(svc) {
			ch.removed = append(ch.removed, svc)
		}
	}
	if keys := c.cfg.Overridden; len(keys) > 0 {
		m.log.Info("overridden", zap.String("flags", "--"+strings.Join(keys, " --")), logging.Reason("flags of the command line win over the file"))
	}
	return ch, nil
}

// serveChange begins to serve what a reload has changed. New listeners come
// first: at no moment is there nobody to accept.
func (m *Master) serveChange(ch change) {
	for _, l := range ch.opened {
		m.acceptor.Start(l)
	}
	for _, svc := range slices.Concat(ch.added, ch.changed) {
		m.dispatcher.Fill(svc.Spec())
	}
	m.replaceListeners(ch.closed)
	for _, svc := range ch.removed {
		m.drainConnections(svc)
	}
	m.admin.Serve()
	for _, svc := range m.services.dropUnused() {
		svc.LogSuppressed(time.Now().Add(time.Hour)) // all of them: nobody asks again
		m.acceptor.Forget(svc)
	}
	m.updateLimitTicker()
}

// drainService closes a service's listeners and retires its spares, while its
// connections come to an end. A reload brings it back, and so does resumeService.
func (m *Master) drainService(svc *service.Service, reason string) {
	if m.phase.is() != running {
		return
	}
	m.reloads.NoteDrain(svc.Name, reason) // also of one that drains: the reload would bring it back
	if svc.Draining() {
		return
	}
	svc.Log.Info(logging.EventDraining, logging.Reason(reason), zap.Uint64("live", svc.Totals().Live()))
	m.endpoints.RetireService(svc.Name)
	m.drainConnections(svc)
}

// drainConnections brings the connections of a service to an end whose listeners
// are closed: nobody is admitted any more who waits for a slot or a PROXY header,
// spares go, and workers are told. Those that are being started are told when
// they are registered.
func (m *Master) drainConnections(svc *service.Service) {
	svc.Drain()
	m.takeOutcomes() // of starts that were over before the drain
	m.acceptor.Drain(svc)
	m.dispatcher.Close(svc.Spec(), time.Now())
	for w := range m.workers.All() {
		if w.Owner() == svc {
			w.Drain()
		}
	}
}

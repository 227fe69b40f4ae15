package master

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/stderr"
)

// services are the ones in force, and those that are no longer and have live
// connections.
type services struct {
	null *os.File // /dev/null, for workers
	// umaskErr says why no worker can have a umask of its own.
	umaskErr error
	stderr   *stderr.Outputs // for workers
	boxes    *box.Manager    // for workers; nil in tests without processes
	log      *zap.Logger
	cfg      config.Config               // in force
	inForce  []*service.Service          // in the order of the configuration
	current  map[*service.Service]bool   // the same, for look-ups: there may be thousands
	byName   map[string]*service.Service // those that there are and were
	retired  ledger.Totals               // of those that were deleted
}

func newServices(cfg config.Config, log *logging.Logger) (services, error) {
	// For writing, too: a worker may try.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	reopened := func(err error) {
		log.Warn("a worker has shut down the stderr of all", logging.Error(err))
	}
	return services{
		null: null, stderr: stderr.NewOutputs(os.Stderr, log.Raw, process.LeaderOf, reopened),
		log: log.Logger, cfg: cfg, byName: map[string]*service.Service{},
	}, err
}

func (s *services) close() {
	s.null.Close()
	s.stderr.Close()
}

// A compiled is a configuration that is ready to be put in force: nothing is left
// to be looked up.
type compiled struct {
	cfg   config.Config
	specs []*service.Spec
	admin adminPlan
}

// compile makes a configuration ready. It may take as long as name servers and
// file systems do, and does not belong on the loop.
func (s *services) compile(cfg *config.Config) (*compiled, error) {
	files := service.Files{Null: s.null, Stderr: s.stderr}
	if s.boxes != nil {
		files.Boxes = s.boxes
	}
	specs, err := service.Compile(cfg, files)
	if err != nil {
		return nil, err
	}
	for _, spec := range specs {
		if spec.Umask.Set && s.umaskErr != nil {
			return nil, fmt.Errorf("service %s: umask: %w", spec.Name, s.umaskErr)
		}
	}
	admin, err := planAdmin(cfg)
	if err != nil {
		return nil, err
	}
	return &compiled{*cfg, specs, admin}, nil
}

// isInForce reports whether a service is part of the configuration in force.
func (s *services) isInForce(svc *service.Service) bool { return s.current[svc] }

// use puts the services of a configuration in force, and returns those before.
func (s *services) use(cfg config.Config, inForce []*service.Service) (before []*service.Service) {
	before = s.inForce
	s.cfg, s.inForce, s.current = cfg, inForce, setOf(inForce)
	return before
}

func setOf(services []*service.Service) map[*service.Service]bool {
	set := make(map[*service.Service]bool, len(services))
	for _, svc := range services {
		set[svc] = true
	}
	return set
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
func (s *services) assign(specs []*service.Spec) []*service.Service {
	assigned := make([]*service.Service, len(specs))
	for i, spec := range specs {
		svc := s.byName[spec.Name]
		if svc == nil {
			svc = service.New(spec.Name, spec.Policy(), s.log)
		}
		if s.isInForce(svc) && !svc.Draining() && svc.Spec().Equal(spec) {
			specs[i] = svc.Spec()
		} else {
			svc.SetOwner(spec)
		}
		assigned[i] = svc
	}
	return assigned
}

// dropUnused deletes the services that were in neither of the last two
// configurations and have no live connection. Their totals are kept.
func (s *services) dropUnused(before []*service.Service) (dropped []*service.Service) {
	recent := setOf(before)
	for _, svc := range s.unused() {
		if totals := svc.Totals(); totals.Live() == 0 && !recent[svc] {
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

// install puts a configuration in force, at the start and on a reload. It binds
// and swaps, and does not wait: everything else was done when the configuration
// was compiled. What can fail comes first, and on error nothing has changed.
func (m *Master) install(c *compiled) (ch change, err error) {
	assigned := m.services.assign(c.specs)
	plan, err := m.endpoints.Plan(c.specs, m.admin.leaving(c.admin)...)
	if err != nil {
		return ch, err
	}
	servers, err := m.admin.open(c.admin, plan.Leaving())
	if err != nil {
		plan.Discard()
		return ch, err
	}
	m.admin.swap(servers)

	now := time.Now()
	before := m.services.use(c.cfg, assigned)
	wasInForce := setOf(before)
	m.redact.Set(c.cfg.LogPeer)
	var outdated []*service.Spec
	for i, svc := range assigned {
		m.services.byName[svc.Name] = svc
		switch old := svc.Spec(); {
		case !wasInForce[svc]:
			ch.added = append(ch.added, svc)
		case old != c.specs[i]:
			ch.changed = append(ch.changed, svc)
			outdated = append(outdated, old)
		default:
			continue
		}
		m.dispatcher.Open(c.specs[i])
	}
	// Listeners change hands before limits change: whoever waits for a slot
	// then looks for one of the service that the listener is for now.
	var left []*service.Service
	ch.opened = plan.Opened
	ch.closed, left = m.endpoints.Commit(plan)
	for i, svc := range assigned {
		svc.Install(c.specs[i], now)
		m.acceptor.Resume(svc)
	}
	m.services.useBoxes()
	m.services.logMissing()
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
func (m *Master) serveChange(ch change, before []*service.Service) {
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
	m.admin.serve()
	for _, svc := range m.services.dropUnused(before) {
		logSuppressed(svc, time.Now().Add(time.Hour)) // all of them: nobody asks again
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
	m.reloads.noteDrain(svc.Name, reason) // also of one that drains: the reload would bring it back
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

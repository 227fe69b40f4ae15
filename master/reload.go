package master

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/endpoints"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
)

// reloads is the queue of reloads: at most one is under way, and at most one
// waits, which stands for all that were asked for meanwhile.
type reloads struct {
	underWay    bool                   // a configuration is being compiled
	queued      bool                   // one more is to be compiled after it
	progress                           // whether it comes to an end
	waiters     []chan<- reloadOutcome // for what becomes of the one under way
	nextWaiters []chan<- reloadOutcome // for the one after it
	drains      []pendingDrain
	failed      string       // why the last reload has changed nothing, or ""
	file        *config.File // that is read again; nil for none
	background  func(func()) // runs what would keep the loop waiting
}

func newReloads(file string) reloads {
	r := reloads{background: func(f func()) { go f() }, progress: progress{limit: reloadLimit}}
	if file != "" {
		r.file = config.NewFile(file)
	}
	return r
}

// A compileResult is a configuration that was read again and compiled, or why it
// could not be.
type compileResult struct {
	attempt  int // see progress
	compiled *compiled
	err      error
	tries    int // how often it could not be put in force because of listen.ErrBusy
}

// A reloadOutcome is what a reload has changed, or why it changed nothing.
type reloadOutcome struct {
	changes control.Reloaded
	err     error
}

// A pendingDrain is the drain of a service that was asked for after a reload and
// before that was installed: the reload is not to undo it.
type pendingDrain struct {
	service, reason string
	queued          bool // the reload after that had been asked for, too
}

// noteDrain remembers a drain if a reload is under way.
func (r *reloads) noteDrain(service, reason string) {
	if r.underWay {
		r.drains = append(r.drains, pendingDrain{service, reason, r.queued})
	}
}

// Reload reads the configuration again, and returns what that has changed, or
// why nothing has. It may be called by anybody while Run runs.
func (m *Master) Reload(ctx context.Context) (control.Reloaded, error) {
	// Room for the outcome: who has asked may be gone by then.
	outcome := make(chan reloadOutcome, 1)
	if err := m.runOnLoop(ctx, func() { m.reload(outcome) }); err != nil {
		return control.Reloaded{}, err
	}
	select {
	case o := <-outcome:
		return o.changes, o.err
	case <-m.loop.stopping:
		return control.Reloaded{}, errReloadWhileStopping
	case <-ctx.Done():
		return control.Reloaded{}, control.Errorf(control.Unavailable, "the reload has not come to an end yet; the log will say what becomes of it")
	}
}

var (
	errNothingToReload     = control.Errorf(control.Conflict, "nothing to reload: preforkd was started without a configuration file")
	errReloadWhileStopping = control.Errorf(control.Conflict, "not reloaded: preforkd is stopping")
)

// reload begins a reload. Reading, checking and compiling take as long as file
// systems and name servers do, so the loop does not wait for them. Who asks
// meanwhile asks for what is in the file then: one more reload follows. The
// outcome goes to those who wait for it; a signal has nobody waiting.
func (m *Master) reload(waiters ...chan<- reloadOutcome) {
	switch {
	case m.isEnding():
		m.log.Warn("not reloaded", logging.Reason("stopping"))
		notifyAll(waiters, reloadOutcome{err: errReloadWhileStopping})
		return
	case m.reloads.file == nil:
		m.log.Warn("nothing to reload", logging.Reason("started without a configuration file"))
		notifyAll(waiters, reloadOutcome{err: errNothingToReload})
		m.notify.Reloading()
		m.notify.Ready()
		return
	case m.reloads.underWay && m.reloads.overdue:
		m.supersedeReload(waiters, nil)
		return
	case m.reloads.underWay:
		m.reloads.queued = true
		m.reloads.nextWaiters = append(m.reloads.nextWaiters, waiters...)
		return
	}
	m.startReload(waiters)
}

// startReload begins a reload while none is under way.
func (m *Master) startReload(waiters []chan<- reloadOutcome) {
	m.reloads.underWay, m.reloads.waiters = true, waiters
	m.reloads.begin(time.Now())
	m.notify.Reloading()
	attempt, file := m.reloads.attempt, m.reloads.file
	now, barrier := m.services.present(), m.endpoints.TakeBarrier()
	m.reloads.background(func() {
		if barrier { // the addresses may be wanted again
			if err := m.endpoints.AwaitRemoval(); err != nil && !m.loop.isStopping() {
				m.log.Warn("service manager", logging.Error(err))
			}
		}
		r := compileResult{attempt: attempt}
		now.find()
		cfg, err := file.LoadAgain(now.base())
		if r.err = err; err == nil {
			r.compiled, r.err = m.services.compile(&cfg, now)
		}
		select {
		case m.loop.compiled <- r:
		case <-m.loop.stopping:
		}
	})
}

func notifyAll(waiters []chan<- reloadOutcome, o reloadOutcome) {
	for _, w := range waiters {
		w <- o
	}
}

// finishReload makes a compiled configuration the one in force, or says why it
// cannot be; then nothing has changed.
func (m *Master) finishReload(r compileResult) {
	if m.reloads.wasGivenUp(r.attempt) {
		m.reloads.ended(r.attempt)
		return
	}
	var o reloadOutcome
	if r.err == nil && !m.isEnding() {
		o.changes, r.err = m.applyConfig(r.compiled)
	}
	if errors.Is(r.err, listen.ErrBusy) && r.tries < busyTries {
		m.retryReload(r)
		return
	}
	m.reloads.ended(r.attempt)
	waiters := m.reloads.waiters
	m.reloads.underWay, m.reloads.waiters = false, nil
	if m.reloads.queued {
		next := m.reloads.nextWaiters
		m.reloads.queued, m.reloads.nextWaiters = false, nil
		defer m.reload(next...)
	}
	if m.isEnding() {
		notifyAll(waiters, reloadOutcome{err: errReloadWhileStopping})
		return
	}
	m.reapplyDrains()
	m.reloads.failed = ""
	if r.err != nil {
		errs := splitErrors(r.err)
		for _, err := range errs {
			m.log.Error("not reloaded", logging.Error(err))
		}
		m.services.useBoxes() // and not those of the configuration that failed
		m.reloads.failed = errs[0].Error()
		o.err = reloadError(r.err)
	}
	m.notify.Ready()
	m.notifyStatus()
	notifyAll(waiters, o)
	go m.services.memory.Now()
}

// How often and after which pause a configuration is tried again that could not
// be put in force because of another master. See listen.ErrBusy.
const (
	busyTries = 500
	busyPause = 20 * time.Millisecond
)

// retryReload has the loop try a configuration again after a pause. Until then
// the reload is under way.
func (m *Master) retryReload(r compileResult) {
	r.err, r.tries = nil, r.tries+1
	m.reloads.background(func() {
		time.Sleep(busyPause)
		select {
		case m.loop.compiled <- r:
		case <-m.loop.stopping:
		}
	})
}

// applyConfig puts a configuration in force and serves what it has changed.
func (m *Master) applyConfig(c *compiled) (control.Reloaded, error) {
	ch, err := m.install(c)
	if err != nil {
		return control.Reloaded{}, err
	}
	m.serveChange(ch)
	m.endpoints.WarnUnusedPassed(c.specs)

	name := func(s *service.Service) string { return s.Name }
	local := func(l *endpoints.Listener) string { return l.Local() }
	changes := control.Reloaded{
		Added: names(ch.added, name), Changed: names(ch.changed, name), Removed: names(ch.removed, name),
		Opened: names(ch.opened, local), Closed: names(ch.closed, local),
	}
	list := func(key string, names []string) zap.Field { return zap.String(key, strings.Join(names, " ")) }
	m.log.Info(logging.EventReloaded, list("added", changes.Added), list("changed", changes.Changed), list("removed", changes.Removed),
		list("opened", changes.Opened), list("closed", changes.Closed))
	return changes, nil
}

// reapplyDrains drains the services again that a reload has brought back which
// had been asked for before they were drained.
func (m *Master) reapplyDrains() {
	drains := m.reloads.drains
	m.reloads.drains = nil
	for _, d := range drains {
		if s, err := m.services.named(d.service); err == nil { // it may be gone by now
			m.drainService(s, d.reason)
		}
		if d.queued {
			m.reloads.drains = append(m.reloads.drains, pendingDrain{d.service, d.reason, false})
		}
	}
}

// reloadError says to a client why a reload has changed nothing.
func reloadError(err error) error {
	found, ok := errors.AsType[config.ConfigErrors](err)
	if !ok {
		return control.Errorf(control.Conflict, "not reloaded: %v", err)
	}
	e := control.Errorf(control.InvalidConfig, "not reloaded: %v", found[0])
	if len(found) > 1 {
		e.Text += fmt.Sprintf(", and %d mistakes more", len(found)-1)
	}
	for _, mistake := range found {
		e.ConfigErrors = append(e.ConfigErrors, mistake.Error())
	}
	return e
}

// splitErrors returns joined errors one by one: each is an event of its own.
func splitErrors(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// names lists services or listeners by their names.
func names[T any](items []T, name func(T) string) []string {
	names := make([]string, 0, len(items))
	for _, item := range items {
		names = append(names, name(item))
	}
	return names
}

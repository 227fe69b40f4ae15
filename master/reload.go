package master

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// A reloaded is a configuration that was read again, or why it was not.
type reloaded struct {
	cfg config.Config
	err error
}

// A reloadOutcome is what a reload has changed, or why it changed nothing.
type reloadOutcome struct {
	changes control.Reloaded
	err     error
}

// A lateDrain is the drain of a service that came after a reload was asked for,
// and before it was installed: it is not to be undone by that.
type lateDrain struct {
	service, reason string
	again           bool // the next reload had been asked for, too
}

// Reload reads the configuration again, and returns what that has changed, or
// why nothing has. It may be called by anybody while Run runs.
func (m *Master) Reload(ctx context.Context) (control.Reloaded, error) {
	// Room for the outcome: who has asked may be gone by then.
	outcome := make(chan reloadOutcome, 1)
	if err := m.ask(ctx, func() { m.reload(outcome) }); err != nil {
		return control.Reloaded{}, err
	}
	select {
	case o := <-outcome:
		return o.changes, o.err
	case <-m.closing:
		return control.Reloaded{}, errReloadWhileStopping
	case <-ctx.Done():
		return control.Reloaded{}, ctx.Err()
	}
}

var (
	errNothingToReload     = control.Errorf(control.Conflict, "nothing to reload: preforkd was started without a configuration file")
	errReloadWhileStopping = control.Errorf(control.Conflict, "not reloaded: preforkd is stopping")
)

// reload begins a reload. Reading and checking take as long as a file system
// and a name server do, so the loop does not wait for it. Who asks meanwhile
// asks for what is in the file then: one more reload follows. The outcome goes
// to those who are waiting for it; a signal has nobody waiting.
func (m *Master) reload(waiting ...chan<- reloadOutcome) {
	switch {
	case m.stop.phase != running:
		m.log.Warn("not reloaded", logging.Reason("stopping"))
		tell(waiting, reloadOutcome{err: errReloadWhileStopping})
		return
	case m.file == "":
		m.log.Warn("nothing to reload", logging.Reason("started without a configuration file"))
		tell(waiting, reloadOutcome{err: errNothingToReload})
		m.manager.Reloading()
		m.manager.Ready()
		return
	case m.reloading:
		m.reloadAgain = true
		m.waitingNext = append(m.waitingNext, waiting...)
		return
	}
	m.reloading = true
	m.manager.Reloading()
	m.waiting = waiting
	run, unsettled := m.cfg.Run, m.unsettled
	m.unsettled = false
	m.background(func() {
		if unsettled {
			m.settleStore() // the addresses may be wanted again
		}
		var r reloaded
		if r.cfg, r.err = config.Load(m.file, run); r.err == nil {
			r.err = resolve(&r.cfg)
		}
		select {
		case m.reloads <- r:
		case <-m.closing:
		}
	})
}

func tell(waiting []chan<- reloadOutcome, o reloadOutcome) {
	for _, w := range waiting {
		w <- o
	}
}

// resolve looks up every host name that is to be listened at, so that a name
// that is not there is known before anything changes, and a name server that is
// silent keeps nobody waiting.
func resolve(cfg *config.Config) error {
	if cfg.Metrics != "" {
		address, err := config.ParseAddress(cfg.Metrics)
		if err == nil {
			_, err = listen.Resolve(address)
		}
		if err != nil {
			return fmt.Errorf("serve metrics: listen %s: %w", cfg.Metrics, err)
		}
	}
	for _, s := range cfg.Services {
		for _, address := range s.Listen {
			if _, err := listen.Resolve(address); err != nil {
				return fmt.Errorf("bind service %s: listen %v: %w", s.Name, address, err)
			}
		}
	}
	return nil
}

// install makes a configuration that was read the one in force, or says why it
// cannot be; then nothing has changed.
func (m *Master) install(r reloaded) {
	waiting := m.waiting
	m.reloading, m.waiting = false, nil
	if m.reloadAgain {
		next := m.waitingNext
		m.reloadAgain, m.waitingNext = false, nil
		defer m.reload(next...)
	}
	if m.stop.phase != running {
		tell(waiting, reloadOutcome{err: errReloadWhileStopping})
		return
	}
	var o reloadOutcome
	if r.err == nil {
		o.changes, r.err = m.change(&r.cfg)
	}
	m.drainLate()
	m.notReloaded = ""
	if r.err != nil {
		mistakes := each(r.err)
		for _, err := range mistakes {
			m.log.Error("not reloaded", logging.Error(err))
		}
		m.notReloaded = mistakes[0].Error()
		o.err = notReloaded(r.err)
	}
	m.manager.Ready()
	m.tellStatus()
	tell(waiting, o)
}

// drainLate drains the services again that a reload has brought back which had
// been asked for before they were drained.
func (m *Master) drainLate() {
	late := m.lateDrains
	m.lateDrains = nil
	for _, d := range late {
		if s, err := m.named(d.service); err == nil { // it may be gone by now
			m.drainService(s, d.reason)
		}
		if d.again {
			m.lateDrains = append(m.lateDrains, lateDrain{d.service, d.reason, false})
		}
	}
}

// notReloaded says to a client why a reload has changed nothing.
func notReloaded(err error) error {
	found, ok := errors.AsType[config.Mistakes](err)
	if !ok {
		return control.Errorf(control.Conflict, "not reloaded: %v", err)
	}
	e := control.Errorf(control.Mistaken, "not reloaded: %v", found[0])
	if len(found) > 1 {
		e.Text += fmt.Sprintf(", and %d mistakes more", len(found)-1)
	}
	for _, mistake := range found {
		e.Mistakes = append(e.Mistakes, mistake.Error())
	}
	return e
}

// each returns mistakes one by one: each is an event of its own.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// change puts a configuration in force. What can fail comes first.
func (m *Master) change(cfg *config.Config) (control.Reloaded, error) {
	services, policies, err := m.newServices(cfg)
	if err != nil {
		return control.Reloaded{}, err
	}
	listeners, opened, err := m.bind(services)
	if err != nil {
		return control.Reloaded{}, err
	}
	giveUp := func(err error) (control.Reloaded, error) {
		for _, l := range opened {
			l.CloseStored()
		}
		return control.Reloaded{}, err
	}
	scraped, err := m.openMetrics(cfg.Metrics)
	if err != nil {
		return giveUp(err)
	}
	server, socketFile, missing, err := m.openControl(cfg)
	if err != nil {
		if scraped != nil && scraped != m.scrape.server {
			scraped.Close()
		}
		return giveUp(err)
	}
	m.useMetrics(scraped, cfg.Metrics)
	if server != nil && server != m.control.server {
		server.Serve(m)
	}
	m.useControl(server, socketFile, missing)

	var added, changed, removed []*service
	before := m.services
	m.cfg, m.services = *cfg, services
	m.privacy.set(cfg.LogPeer)
	now := time.Now()
	kept := map[*listener]bool{}
	// Listeners change hands before limits change: whoever waits for a slot then
	// looks for one of the service that it is for now.
	var left []*books
	for _, s := range services {
		i := slices.IndexFunc(before, func(old *service) bool { return old.Name == s.Name })
		switch {
		case i < 0:
			added = append(added, s)
		case before[i] != s:
			changed = append(changed, s)
		}
		m.books[s.Name] = s.books
		s.listeners = listeners[s]
		for _, l := range s.listeners {
			kept[l] = true
			if l.options != s.options {
				if err := l.Apply(s.options); err != nil {
					s.log.Warn("change socket options", logging.Local(l.Local()), logging.Error(err))
				}
				l.options = s.options
			}
			if old := l.service.Swap(s); old != nil && old.books != s.books {
				left = append(left, old.books)
			}
		}
	}
	for i, s := range services {
		s.gate.SetPolicy(policies[i], now)
	}
	for _, b := range left {
		b.gate.WakeAll()
	}
	var closed []*listener
	for _, old := range before {
		if !slices.ContainsFunc(services, func(s *service) bool { return s.Name == old.Name }) {
			removed = append(removed, old)
		}
		if !slices.Contains(services, old) {
			old.pool.close(now) // its spares are of no more use
		}
		for _, l := range old.listeners {
			if !kept[l] {
				closed = append(closed, l)
			}
		}
	}
	// New ones first: at no moment is there nobody to accept.
	for _, l := range opened {
		m.startListener(l)
	}
	for _, s := range append(slices.Clone(added), changed...) {
		m.startSpares(s)
	}
	m.store(opened)
	for _, l := range closed {
		m.unstore(l)
		m.closeListener(l)
	}
	m.warnPassed(services)
	m.settleSweep()
	m.closeBooks(before, services)

	name := func(s *service) string { return s.Name }
	local := func(l *listener) string { return l.Local() }
	changes := control.Reloaded{
		Added: names(added, name), Changed: names(changed, name), Removed: names(removed, name),
		Opened: names(opened, local), Closed: names(closed, local),
	}
	list := func(key string, names []string) zap.Field { return zap.String(key, strings.Join(names, " ")) }
	m.log.Info(logging.EventReloaded, list("added", changes.Added), list("changed", changes.Changed), list("removed", changes.Removed),
		list("opened", changes.Opened), list("closed", changes.Closed))
	return changes, nil
}

// names lists services or listeners by their names.
func names[T any](items []T, name func(T) string) []string {
	names := make([]string, 0, len(items))
	for _, item := range items {
		names = append(names, name(item))
	}
	return names
}

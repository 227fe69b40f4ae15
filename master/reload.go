package master

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
)

// A reloaded is a configuration that was read again, or why it was not.
type reloaded struct {
	cfg config.Config
	err error
}

// reload begins a reload. Reading and checking take as long as a file system
// and a name server do, so the loop does not wait for it. A signal that comes
// meanwhile is for what is in the file then: one more reload follows.
func (m *Master) reload() {
	switch {
	case m.file == "":
		m.log.Warn("nothing to reload", logging.Reason("started without a configuration file"))
		m.manager.Reloading()
		m.manager.Ready()
		return
	case m.stop.phase != running:
		m.log.Warn("not reloaded", logging.Reason("stopping"))
		return
	case m.reloading:
		m.reloadAgain = true
		return
	}
	m.reloading = true
	m.manager.Reloading()
	run := m.cfg.Run
	m.background(func() {
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

// resolve looks up every host name that is to be listened at, so that a name
// that is not there is known before anything changes.
func resolve(cfg *config.Config) error {
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
	m.reloading = false
	if m.reloadAgain {
		m.reloadAgain = false
		defer m.reload()
	}
	if m.stop.phase != running {
		return
	}
	if r.err == nil {
		r.err = m.change(&r.cfg)
	}
	m.notReloaded = ""
	if r.err != nil {
		mistakes := each(r.err)
		for _, err := range mistakes {
			m.log.Error("not reloaded", logging.Error(err))
		}
		m.notReloaded = mistakes[0].Error()
	}
	m.manager.Ready()
	m.tellStatus()
}

// each returns mistakes one by one: each is an event of its own.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// change puts a configuration in force. What can fail comes first.
func (m *Master) change(cfg *config.Config) error {
	services, policies, err := m.newServices(cfg)
	if err != nil {
		return err
	}
	listeners, opened, err := m.bind(services)
	if err != nil {
		return err
	}

	var added, changed, removed []*service
	before := m.services
	m.cfg, m.services = *cfg, services
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
	// New ones first: at no moment is there nobody to accept, and the count of
	// those who do is never zero, which would mean the end.
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
	m.log.Info(logging.EventReloaded,
		zap.String("added", describe(added, name)), zap.String("changed", describe(changed, name)), zap.String("removed", describe(removed, name)),
		zap.String("opened", describe(opened, local)), zap.String("closed", describe(closed, local)))
	return nil
}

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
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/reloading"
)

// A compileResult is a configuration that was read again and compiled, or why it
// could not be.
type compileResult struct {
	attempt  int // see reloading.Queue.Begin
	compiled *compiled
	err      error
	tries    int // how often it could not be put in force because of listen.ErrBusy
}

// Reload reads the configuration again, and returns what that has changed, or
// why nothing has. It may be called by anybody while Run runs.
func (m *Master) Reload(ctx context.Context) (control.Reloaded, error) {
	// Room for the outcome: who has asked may be gone by then.
	outcome := make(chan reloading.Outcome, 1)
	if err := m.runOnLoop(ctx, func() { m.reload(reloading.Waiters{outcome}) }); err != nil {
		return control.Reloaded{}, err
	}
	select {
	case o := <-outcome:
		return o.Changes, o.Err
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
func (m *Master) reload(waiters reloading.Waiters) {
	switch {
	case m.isEnding():
		m.log.Warn("not reloaded", logging.Reason("stopping"))
		waiters.Tell(reloading.Outcome{Err: errReloadWhileStopping})
		return
	case m.reloads.File() == nil:
		m.log.Warn("nothing to reload", logging.Reason("started without a configuration file"))
		waiters.Tell(reloading.Outcome{Err: errNothingToReload})
		m.notify.Reloading()
		m.notify.Ready()
		return
	case m.reloads.Overdue():
		m.supersedeReload(waiters)
		return
	case m.reloads.UnderWay():
		m.reloads.Enqueue(waiters)
		return
	}
	m.startReload(waiters)
}

// startReload begins a reload while none is under way.
func (m *Master) startReload(waiters reloading.Waiters) {
	attempt, file := m.reloads.Begin(waiters, time.Now()), m.reloads.File()
	m.notify.Reloading()
	now, barrier := m.services.present(), m.endpoints.TakeBarrier()
	m.loop.background(func() {
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

// reloadOverdue says that the reload under way takes too long. If another one was
// asked for meanwhile it takes its place: the file may be a better one by now.
func (m *Master) reloadOverdue() {
	if m.isEnding() {
		return // who waits for the reload knows already
	}
	m.log.Warn("reload overdue", zap.Time("since", m.reloads.MarkOverdue()), logging.Reason(reloading.Reason))
	m.reloads.TellOverdue()
	if next, queued := m.reloads.TakeQueued(); queued {
		m.supersedeReload(next)
		return
	}
	m.notify.Ready()
	m.notifyStatus()
}

// supersedeReload gives up the reload under way, which is overdue, and begins
// another one. While an earlier reload hangs that was given up, nothing happens, and
// those who wait are told.
func (m *Master) supersedeReload(waiters reloading.Waiters) {
	err := m.reloads.GiveUp()
	if err == nil {
		m.startReload(waiters)
		return
	}
	m.log.Error("not reloaded", logging.Error(err))
	waiters.Tell(reloading.Outcome{Err: control.Errorf(control.Unavailable, "not reloaded: %v", err)})
	m.notify.Reloading()
	m.notify.Ready()
	m.notifyStatus()
}

// finishReload makes a compiled configuration the one in force, or says why it
// cannot be; then nothing has changed.
func (m *Master) finishReload(r compileResult) {
	if m.reloads.EndGivenUp(r.attempt) {
		return
	}
	var o reloading.Outcome
	if r.err == nil && !m.isEnding() {
		o.Changes, r.err = m.applyConfig(r.compiled)
	}
	if errors.Is(r.err, listen.ErrBusy) && r.tries < busyTries {
		m.retryReload(r)
		return
	}
	waiters := m.reloads.End()
	if next, queued := m.reloads.TakeQueued(); queued {
		defer m.reload(next)
	}
	if m.isEnding() {
		waiters.Tell(reloading.Outcome{Err: errReloadWhileStopping})
		return
	}
	m.reapplyDrains()
	m.reloads.SetFailure("")
	if r.err != nil {
		errs := splitErrors(r.err)
		for _, err := range errs {
			m.log.Error("not reloaded", logging.Error(err))
		}
		m.services.useBoxes() // and not those of the configuration that failed
		m.reloads.SetFailure(errs[0].Error())
		o.Err = reloadError(r.err)
	}
	m.notify.Ready()
	m.notifyStatus()
	waiters.Tell(o)
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
	m.loop.background(func() {
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

	changes := ch.show()
	logReloaded(m.log, &changes)
	return changes, nil
}

// logReloaded says what a configuration has changed.
func logReloaded(log *logging.Logger, changes *control.Reloaded) {
	list := func(key string, names []string) zap.Field { return zap.String(key, strings.Join(names, " ")) }
	log.Info(logging.EventReloaded, list("added", changes.Added), list("changed", changes.Changed), list("removed", changes.Removed),
		list("opened", changes.Opened), list("closed", changes.Closed))
}

// reapplyDrains drains the services again that a reload has brought back which
// had been asked for before they were drained.
func (m *Master) reapplyDrains() {
	for _, d := range m.reloads.TakeDrains() {
		if s, err := m.services.named(d.Service); err == nil { // it may be gone by now
			m.drainService(s, d.Reason)
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

package master

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/signals"
	"github.com/preforkd/preforkd/master/upgrade"
)

// A loop is what the loop waits for, and how others reach it.
type loop struct {
	signals *signals.Queue
	// children carries that a child has ended. It is caught before anything is
	// started.
	children chan os.Signal

	calls      chan func()        // what others want to be done on the loop
	compiled   chan compileResult // configurations that a reload has compiled
	limits     *time.Ticker       // of checkLimits
	limitsOn   bool               // limits ticks
	sockets    *time.Ticker       // of checkSockets
	outcomes   []dispatch.Outcome // memory for takeOutcomes
	background func(func())       // runs what would keep the loop waiting
	stopping   chan struct{}      // closed when the master accepts no more
	done       chan struct{}      // closed when the loop does nothing any more
}

func newLoop(caught *signals.Queue) *loop {
	return &loop{
		signals: caught,
		// One place is enough: a signal says that there is something to reap,
		// and one that is not read yet says it for all that ended since.
		children:   make(chan os.Signal, 1),
		calls:      make(chan func()),
		compiled:   make(chan compileResult),
		limits:     time.NewTicker(limitInterval),
		limitsOn:   true,
		sockets:    time.NewTicker(limitInterval),
		background: func(f func()) { go f() },
		stopping:   make(chan struct{}),
		done:       make(chan struct{}),
	}
}

func (l *loop) catchChildren() { signal.Notify(l.children, unix.SIGCHLD) }

// release undoes what the loop of a master holds that does not start.
func (l *loop) release() {
	signal.Stop(l.children)
	l.limits.Stop()
	l.sockets.Stop()
}

// once runs the loop once, for a question of another goroutine: it shows that goroutines,
// timers and the loop's channels work.
func (l *loop) once() error {
	asked := make(chan struct{})
	go func() {
		select {
		case l.calls <- func() {}:
		case <-asked:
		}
	}()
	defer close(asked)
	timeout := time.NewTimer(upgrade.Timeout)
	defer timeout.Stop()
	select {
	case call := <-l.calls:
		call()
		return nil
	case <-timeout.C:
		return errors.New("the loop hears nothing")
	}
}

// isStopping reports whether the master accepts no more.
func (l *loop) isStopping() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// Run accepts and serves until a signal or, with config.Run.Once, the end of the
// one connection ends it. It returns when every worker has been reaped and the
// sockets are closed. It is called once.
//
// It takes over the process: what signals.Catch has caught, SIGCHLD, and every child
// there is. The error says that workers had to be left behind, or that with Once no
// worker could be started.
//
//	signal                effect
//	SIGTERM, SIGINT       drain; a further SIGINT skips one wait
//	SIGQUIT               stop without waiting for live connections
//	SIGHUP                reload
//	SIGUSR1               write a summary to the log
//	SIGUSR2               upgrade
//	SIGCHLD               reap
func (m *Master) Run() (Result, error) {
	if err := process.BecomeSubreaper(); err != nil {
		m.log.Warn("workers' own children cannot be stopped with them", logging.Error(err))
	}
	if m.upgrades.takeover != nil {
		if err := m.beginAgain(); err != nil {
			return Result{ExitCode: 1}, m.upgrades.takeover.GoBack(err)
		}
	} else if sig, err := m.begin(); err != nil {
		return m.failStartup(err)
	} else if sig != 0 {
		m.advance(drainRequested, unix.SignalName(sig))
	}
	accepting := make(chan struct{})
	go func() {
		m.acceptor.Wait()
		m.dispatcher.Wait()
		close(accepting)
	}()
	stopped := make(chan struct{})
	go m.workers.Poll(stopped)
	go m.workers.Linger().Run()
	defer m.loop.limits.Stop()
	defer m.loop.sockets.Stop()
	defer m.services.close()
	defer m.workers.Close()
	defer m.dispatcher.End()
	defer m.services.closeBoxes()
	defer close(stopped)
	defer m.notify.Stop()
	m.notify.Start()
	m.updateLimitTicker()
	m.updateSocketTicker()
	m.reap() // what this process had for children before it became the master
	return m.serve(accepting)
}

// serve is the loop. Whatever it does first takes the outcomes of starts into
// account, so that it knows of every worker that an event may be about.
func (m *Master) serve(accepting <-chan struct{}) (Result, error) {
	for {
		if accepting == nil && m.isIdle() {
			if len(m.orphans()) == 0 {
				break
			}
			m.advance(orphansLeft, "")
		}
		select {
		case <-accepting:
			accepting = nil
			m.takeOutcomes()
		case <-m.dispatcher.Wake():
			m.takeOutcomes()
		case <-m.loop.children:
			m.reapAfterSignal()
		case <-m.workers.ScanDue():
			m.takeOutcomes()
			m.workers.Scan(m.phase.is() != running)
			m.resolveEarlyExits()
		case <-m.workers.StopsDue():
			m.takeOutcomes()
			m.workers.CheckStops()
		case <-m.workers.CellsOver():
			m.workers.TakeCells()
		case <-m.workers.UnwatchedDue():
			m.workers.ReadUnwatched()
		case pids := <-m.workers.Ready():
			m.workers.ReadReady(pids)
		case answer := <-m.workers.HangUps():
			m.takeOutcomes()
			m.noteHangUps(answer)
		case found := <-m.workers.EarlyCloses():
			m.workers.NoteEarlyCloses(found, time.Now())
		case now := <-m.loop.limits.C:
			m.checkLimits(now)
		case now := <-m.loop.sockets.C:
			m.checkSockets(now)
		case <-m.notify.Due():
			m.notifyWatchdog()
		case <-m.acceptor.Suppressed():
			m.startLimitTicker()
		case call := <-m.loop.calls:
			call()
		case r := <-m.loop.compiled:
			m.finishReload(r)
		case <-m.reloads.Timeout():
			m.reloadOverdue()
		case sig := <-m.loop.signals.Next():
			m.handleSignal(sig)
		case <-m.phase.timeout:
			m.reap()
			if m.isIdle() && len(m.orphans()) == 0 {
				continue
			}
			if m.phase.is() == killing {
				return m.abandon()
			}
			m.advance(timedOut, "")
		}
	}
	m.awaitLingering()
	m.endLoop()
	m.services.stderr.Flush()
	m.log.Info(logging.EventStopped, m.services.totals().Fields()...)
	return m.once.result, m.once.failure
}

// runOnLoop runs f on the loop between two events, and waits for it. f does what
// only the loop may do, and no more: accepting and reaping wait for it.
func (m *Master) runOnLoop(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case m.loop.calls <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-m.loop.done:
		return control.Errorf(control.Unavailable, "the master has just ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endLoop tells those who want something of the loop that it does nothing any more, and
// lets operators reach the master no longer.
func (m *Master) endLoop() {
	close(m.loop.done)
	m.admin.Close()
}

// takeOutcomes takes all starts into account of which there is an outcome.
// Whoever looks at the workers calls it first.
func (m *Master) takeOutcomes() {
	m.loop.outcomes = m.dispatcher.Take(m.loop.outcomes)
	for _, o := range m.loop.outcomes {
		m.takeOutcome(o)
	}
	clear(m.loop.outcomes)
}

func (m *Master) takeOutcome(o dispatch.Outcome) {
	w := o.Worker
	switch {
	case o.Err == dispatch.ErrGone:
		m.dropGone(o.Conn)
	case w == nil: // it turned out not to be needed
	case o.Err != nil:
		if w.Failed() {
			w.Owner().Ledger.ProgramNotRun(o.Err, time.Now())
		} else {
			w.Owner().Ledger.WorkerNotStarted(o.Err, time.Now())
		}
		if o.Conn != nil {
			m.failConnection(o.Conn, o.Err)
		}
	default:
		w.Owner().Ledger.WorkerStarted(o.Took)
		if o.Conn != nil && w.Program() == "" {
			w.Owner().Ledger.ProgramRuns()
		}
		m.register(w)
	}
	if m.once.enabled && o.Conn != nil {
		m.stopAccepting()
	}
	m.dispatcher.Taken()
	m.dropEarlyExits()
}

// reap reaps every child that has ended.
func (m *Master) reap() {
	m.takeOutcomes()
	m.workers.ReapAll()
	m.resolveEarlyExits()
}

// reapAfterSignal reaps after SIGCHLD. With many workers it may leave some of
// them to a later scan. A master that stops leaves none.
func (m *Master) reapAfterSignal() {
	m.takeOutcomes()
	if m.workers.Reap(m.phase.is() != running) {
		m.resolveEarlyExits()
	}
}

// resolveEarlyExits takes the starts into account that exits of unknown children
// may belong to, and reports those that are nobody's.
func (m *Master) resolveEarlyExits() {
	for m.dispatcher.SetUrgent(m.workers.HasEarlyExits() || !m.loop.limitsOn) {
		m.takeOutcomes()
	}
	m.dropEarlyExits()
}

// handleSignal does what a signal asks for.
func (m *Master) handleSignal(sig unix.Signal) {
	m.takeOutcomes()
	switch sig {
	case unix.SIGTERM:
		m.advance(drainRequested, unix.SignalName(sig))
	case unix.SIGINT:
		m.advance(interrupted, unix.SignalName(sig))
	case unix.SIGQUIT:
		m.advance(quitRequested, unix.SignalName(sig))
	case unix.SIGHUP:
		m.reload(nil)
	case unix.SIGUSR1:
		m.logSummary()
	case unix.SIGUSR2:
		m.upgradeBySignal(sig)
	}
}

package master

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// Run accepts and serves until a signal or, with config.Config.Once, the end
// of the one connection ends it. It returns when every worker has been reaped
// and the sockets are closed. It is called once.
//
// It takes over the process: its stop signals, SIGHUP, SIGUSR1 and SIGCHLD,
// and every child there is. The signals stay caught when it returns, since all
// that is left is to write the end of the log, and a stop in order is not to
// be turned into a killed process by one more of them. The error says that
// workers had to be left behind, or that with Once no worker could be started.
//
//	signal                effect
//	SIGTERM, SIGINT       drain; a further SIGINT skips one wait
//	SIGQUIT               stop without waiting for live connections
//	SIGHUP                reload
//	SIGUSR1               write a summary to the log
//	SIGCHLD               reap
func (m *Master) Run() (Result, error) {
	if err := process.AdoptOrphans(); err != nil {
		m.log.Warn("workers' own children cannot be stopped with them", logging.Error(err))
	}
	if sig, err := m.begin(); err != nil {
		return m.notStarted(err)
	} else if sig != 0 {
		m.drain(unix.SignalName(sig))
	}
	defer m.startBeat()()
	ended := make(chan struct{})
	go func() {
		m.accepting.Wait()
		close(ended)
	}()
	acceptingEnded := (<-chan struct{})(ended)
	defer m.null.Close()
	stopped := make(chan struct{})
	defer close(stopped)
	go m.channels.run(stopped)
	defer m.channels.close()
	defer m.stowage.close()
	m.sweeping = time.NewTicker(time.Second)
	defer m.sweeping.Stop()
	m.settleSweep()

	m.reap() // what this process had for children before it became the master
	for acceptingEnded != nil || !m.finished() {
		select {
		case <-acceptingEnded:
			acceptingEnded = nil
			m.takeSpawns()
		case <-m.spawns.wake:
			m.takeSpawns()
		case <-m.children:
			m.childEnded()
		case <-m.reaper.later:
			m.walkIsDue()
		case pids := <-m.channels.ready:
			for _, pid := range pids {
				if w := m.table.workers[pid]; w != nil && w.watched {
					m.hear(w)
				}
			}
		case now := <-m.sweeping.C:
			m.sweep(now)
		case <-m.beat:
			m.beats()
		case f := <-m.asked:
			f()
		case r := <-m.reloads:
			m.install(r)
		case sig := <-m.signals:
			m.signalled(sig.(unix.Signal))
		case <-m.stop.timeout:
			if m.reap(); !m.finished() && !m.escalate() {
				return m.abandon()
			}
		}
	}
	m.closeControl()
	m.log.Info(logging.EventStopped, m.sums().fields()...)
	return m.result, m.failure
}

// begin starts to accept, once a worker has been proven to start where somebody
// wants to know when the master is ready. It returns the signal that has ended
// it before, or 0.
func (m *Master) begin() (unix.Signal, error) {
	if m.manager != nil && !m.once && len(m.cfg.Wrap) == 0 {
		if sig, err := m.prove(); sig != 0 || err != nil {
			return sig, err
		}
	}
	m.startAccepting()
	// When all listeners are gone because their services were drained, others
	// may come by a reload.
	m.accepting.Go(func() { <-m.closing })
	if m.control.server != nil {
		m.control.server.Serve(m)
	}
	for _, s := range m.services {
		m.store(s.listeners)
	}
	m.manager.Ready()
	m.tellStatus()
	return 0, nil
}

// notStarted ends a master that could not begin to serve.
func (m *Master) notStarted(err error) (Result, error) {
	m.stopAccepting()
	m.null.Close()
	m.channels.close()
	m.closeControl()
	m.log.Error("not started", logging.Error(err))
	m.log.Info(logging.EventStopped, m.sums().fields()...)
	return Result{ExitCode: 1}, err
}

// takeSpawns takes all outcomes that there are into account. Whoever looks at
// the table calls it first.
func (m *Master) takeSpawns() {
	m.heardOf = m.spawns.take(m.heardOf)
	for _, s := range m.heardOf {
		m.spawned(s)
	}
	clear(m.heardOf)
}

// spawned takes the outcome of a spawn into account.
func (m *Master) spawned(s spawn) {
	switch w := s.worker; {
	case w == nil:
	case s.err != nil:
		w.service.failedAt, w.service.failedFor = time.Now(), causeOf(s.err)
		if w.conn != nil {
			m.spawnFailed(w.conn, s.err)
		}
	default:
		w.service.failedAt = time.Time{}
		w.service.spawns.record(s.took)
		m.register(w)
	}
	if m.once && s.worker != nil && s.worker.served > 0 {
		m.stopAccepting()
	}
	m.spawning.Add(-1)
	m.settle()
}

// register puts a new worker into the table, unless it has ended already.
func (m *Master) register(w *worker) {
	m.workers++
	exit, over := m.table.started(w, w.child.Pid, w.child.Reaped)
	w.child.Registered()
	if over {
		m.ended(w, exit)
		return
	}
	m.reaper.born(w.child.Pid)
	if w.watched {
		if err := m.channels.watch(w.child.Control, w.child.Pid); err != nil {
			m.breach(w, fmt.Errorf("watch control channel: %w", err))
		}
	}
	if m.stop.phase >= draining {
		w.tellDrain() // all others have been told
	}
	m.catchUp(w.child.Pid)
	m.stow(w, time.Now())
}

func (m *Master) signalled(sig unix.Signal) {
	m.takeSpawns()
	switch sig {
	case unix.SIGTERM:
		m.drain(unix.SignalName(sig))
	case unix.SIGINT:
		if m.stop.phase == running {
			m.drain(unix.SignalName(sig))
		} else if m.stop.phase < killing {
			m.escalate()
		}
	case unix.SIGQUIT:
		m.drain(unix.SignalName(sig))
		if m.stop.phase < terminating {
			m.escalate()
		}
	case unix.SIGHUP:
		m.reload()
	case unix.SIGUSR1:
		m.summarize()
	}
}

// summarize writes the state of the master and of each service to the log.
func (m *Master) summarize() {
	all := m.sums()
	m.log.Info("status", append(all.fields(), zap.Uint64("live", all.live()), zap.Stringer("state", m.stop.phase))...)
	for _, s := range m.services {
		counts := s.gate.Counts()
		fields := append(s.sums().fields(),
			zap.Int("slots_taken", counts.Held+counts.Reserved), zap.Int("slots", counts.Limit),
			zap.Int("sources", counts.Sources), zap.Int("penalized", counts.Penalized),
			zap.Object("refused_by_reason", refusedByReason(counts.Refused)))
		if s.MaxSpares > 0 {
			ready, starting := s.pool.counts()
			fields = append(fields, zap.Int("spares", ready), zap.Int("spares_starting", starting))
		}
		s.log.Info("status", fields...)
	}
}

// refusedByReason shows the reasons that there were.
type refusedByReason [admit.Reasons]uint64

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (r refusedByReason) MarshalLogObject(to zapcore.ObjectEncoder) error {
	for reason := range admit.Reasons {
		if r[reason] > 0 {
			to.AddUint64(reason.String(), r[reason])
		}
	}
	return nil
}

// abandon gives up on what SIGKILL did not end: a process in uninterruptible
// sleep, or a spawn that does not return. Waiting for it could take for ever.
func (m *Master) abandon() (Result, error) {
	m.closeControl()
	orphans := process.Orphans(m.table.has)
	err := fmt.Errorf("%d workers, %d of their children and %d spawns did not end",
		len(m.table.workers), len(orphans), m.spawning.Load())
	for pid, w := range m.table.workers {
		w.service.log.Error("left behind", logging.PID(pid), logging.Reason(w.stateNow().String()))
	}
	for _, pid := range orphans {
		m.log.Error("left behind", logging.PID(pid))
	}
	m.log.Error(logging.EventStopped, append(m.sums().fields(), logging.Error(err))...)
	return Result{ExitCode: 1}, err
}

package master

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/dispatch"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/workers"
)

// register puts a new worker into the set. Whatever all others were told while
// it was being started, it is told now.
func (m *Master) register(w *workers.Worker) {
	live := m.workers.Register(w)
	if live || m.workers.Len() > 0 { // something may be left of one that has ended already
		m.startLimitTicker()
	}
	if !live {
		return
	}
	if m.phase.is() >= draining || w.Owner().Draining() {
		w.Drain()
	}
	if sig := m.phase.signal(); sig != 0 {
		m.signalWorker(w, sig)
	}
	m.workers.ParkIfIdle(w, time.Now())
}

// A lifecycle is the master as the workers.Sink: what a worker says, and how it
// ends, changes pools, accounts and slots. All of it happens on the loop.
type lifecycle struct{ *Master }

// Message implements workers.Sink.
func (m lifecycle) Message(w *workers.Worker, t ipc.Type, body []byte) error {
	now := time.Now()
	state := w.State()
	switch {
	case t == ipc.TypeReady && state == workers.Starting:
		w.Pool().Add(w, now)
		return nil
	case t == ipc.TypeReady && state == workers.Serving && w.Report() != nil && w.Reusable():
		m.finishConnection(w, now)
		return nil
	case t == ipc.TypeAck && state == workers.Assigned:
		w.Owner().Ledger.HandedOver(w.Pool().Confirm(w, now))
		m.workers.ParkIfIdle(w, now)
		return nil
	case t == ipc.TypeReport && state == workers.Serving && w.Report() == nil:
		report, err := ipc.DecodeReport(body)
		if err != nil {
			return err
		}
		w.SetReport(&report)
		return nil
	case t == ipc.TypeFailed && state == workers.Serving && w.Program() != "" && w.Failure() == nil:
		failure, err := ipc.DecodeFailure(body)
		if err != nil {
			return err
		}
		w.SetFailure(&failure)
		return nil
	}
	return fmt.Errorf("unexpected %v from a worker that is %v", t, state)
}

// ChannelClosed implements workers.Sink. A spare that closes its channel while a
// connection is on its way to it will never acknowledge it. Most such spares are
// about to exit: the kernel closes descriptors before it tells of the exit. One
// that has not exited at the next check of limits is ended. Then the connection
// goes to another worker.
//
// A worker that was to execute a program has done so when its channel closes and
// it has not said otherwise.
func (m lifecycle) ChannelClosed(w *workers.Worker) {
	if w.Program() != "" && w.Failure() == nil && w.State() == workers.Serving {
		w.Owner().Ledger.ProgramRuns()
	}
	w.Pool().ChannelClosed(w, time.Now())
}

// Violation implements workers.Sink. The worker's connection ends with it.
func (m lifecycle) Violation(w *workers.Worker, err error) {
	if !w.Reaped() {
		w.Owner().Log.Warn("contract broken", logging.PID(w.PID()), logging.Error(err))
		m.signalWorker(w, unix.SIGKILL)
	}
}

// Stopped implements workers.Sink. A worker that is stopped is no failure yet: it
// may go on. Its limits hold for it as for any other.
func (m lifecycle) Stopped(w *workers.Worker) {
	w.Owner().Log.Warn(logging.EventWorkerStopped, connField(w), logging.PID(w.PID()), logging.Signal(w.StoppedBy()))
}

// Continued implements workers.Sink.
func (m lifecycle) Continued(w *workers.Worker) {
	w.Owner().Log.Info(logging.EventWorkerContinued, connField(w), logging.PID(w.PID()))
}

// connField is the connection that a worker has, if it has one.
func connField(w *workers.Worker) zap.Field {
	if c := w.Connection(); c != nil {
		return logging.Conn(c.ID)
	}
	return zap.Skip()
}

// stderrTail returns the last lines that a worker wrote to its stderr, if it has
// failed.
func (m *Master) stderrTail(w *workers.Worker, exit process.Exit) string {
	if !exit.Status.Signaled() && exit.Status.ExitStatus() == 0 {
		m.services.stderr.Forget(exit.Pid)
		return ""
	}
	if w.Stderr() != nil {
		return w.Stderr().Tail(w.TailSince())
	}
	return m.services.stderr.Take(exit.Pid, w.TailSince())
}

// Reaped implements workers.Sink: the number may be another orphan's from now on.
func (m lifecycle) Reaped(pid int) { delete(m.phase.signalled, pid) }

// Exited implements workers.Sink: it gives the worker's slot back, and writes the
// one event that says it all. A connection that was on its way to the worker goes
// to another one, unless somebody wanted the worker's end.
func (m lifecycle) Exited(w *workers.Worker, exit process.Exit) {
	w.Stderr().Close()
	tail := m.stderrTail(w, exit)
	now := time.Now()
	w.Owner().Ledger.WorkerExited(&exit)
	state, c := w.Pool().MarkReaped(w)
	switch {
	case c == nil:
		m.spareExited(w, state, exit, tail)
	case state == workers.Assigned && !w.Killed():
		m.spareExited(w, state, exit, tail)
		m.reassign(c)
	case w.Failed():
		m.programFailed(w, c, exit)
	default:
		// If a spare broke the contract before it had the connection, or was
		// killed for it, nobody else is to have it.
		m.workers.EndConnection(w, c)
		if w.Program() != "" {
			w.Owner().Ledger.ProgramRuns()
		}
		m.closeConnection(w, c, &exit, tail, now)
		if m.once.enabled {
			m.once.result.ExitCode = exitCode(exit.Status)
		}
	}
}

// programFailed takes in that a worker could not become its program. For the
// client, the counts and the log it is what a failed spawn is; that there was a
// process is for debugging.
func (m *Master) programFailed(w *workers.Worker, c *service.Connection, exit process.Exit) {
	fields := []zap.Field{logging.PID(exit.Pid), logging.ExitStatus(exit.Status)}
	if w.Failure() != nil {
		fields = append(fields, logging.Reason(ipc.ExitName(ipc.ExitExec)))
	}
	w.Owner().Log.Debug(logging.EventReaped, append(fields, logging.Usage(&exit.Usage)...)...)
	m.dispatcher.ProgramFailed(w, c)
}

// spareExited reports the end of a worker that had no connection, or had not
// acknowledged it yet.
func (m *Master) spareExited(w *workers.Worker, state workers.State, exit process.Exit, tail string) {
	level := zapcore.InfoLevel
	if state != workers.Retiring {
		if m.phase.signal() == 0 {
			level = zapcore.WarnLevel // not of the master's doing
		}
		if w.Violation() == nil {
			w.Pool().Failed(time.Now(), state == workers.Starting)
		}
	}
	fields := []zap.Field{logging.PID(exit.Pid), logging.ExitStatus(exit.Status), logging.Reason(state.String() + " spare")}
	if err := w.Violation(); err != nil {
		fields = append(fields, logging.Error(err))
	} else if err := w.BoxError(); err != nil {
		fields = append(fields, logging.Error(err))
	}
	w.Owner().Log.Log(level, logging.EventReaped, append(append(fields, logging.Usage(&exit.Usage)...), logging.StderrTail(tail))...)
}

// reassign gives a connection that no worker has touched to another one, unless
// the workers are being ended.
func (m *Master) reassign(c *service.Connection) {
	if m.phase.signal() != 0 {
		m.failConnection(c, ledger.ErrStopping)
		return
	}
	m.dispatcher.Redispatch(c.Current())
}

// finishConnection closes the account of the connection of a worker that lives
// on and has said that it is ready for the next one. The worker is in the pool
// before the slot is free, so a process is never counted by both.
func (m *Master) finishConnection(w *workers.Worker, now time.Time) {
	c := w.Pool().GiveBack(w, now)
	if c == nil {
		return // it keeps its connection until it has been reaped
	}
	m.closeConnection(w, c, nil, "", now)
	w.FinishConnection()
}

// closeConnection gives the slot back and writes the event of a connection that
// was served: reaped, or ended where the worker lives on and exit is nil. tail is
// what a worker that failed has said on its stderr.
func (m *Master) closeConnection(w *workers.Worker, c *service.Connection, exit *process.Exit, tail string, now time.Time) {
	s := c.Owner()
	duration, report, leftovers := now.Sub(c.Accepted), w.Report(), w.Leftovers()
	s.Ledger.Completed(duration, report)
	s.Ledger.LeftoversEnded(leftovers)
	var outcome workers.Outcome
	if exit != nil {
		outcome = w.Outcome(exit.Status)
		s.Ledger.LimitsMet(outcome.Limits)
	}
	// The slot comes last: by the log, too, there are never more connections
	// alive than slots.
	defer m.releaseSlot(c)
	if exit != nil {
		m.penalize(w, c, exit.Status, &outcome, now)
	}

	var values []ipc.Pair
	if report != nil {
		values = s.TakeUnconfinedNote(c.Spec, report.Values)
	}
	if !c.LogsEnd(hasFailed(w, c, exit)) {
		return
	}
	event, level := logging.EventEnded, zapcore.InfoLevel
	fields := append(c.Origin(), logging.PID(w.PID()))
	if exit != nil {
		event = logging.EventReaped
		fields = append(fields, logging.ExitStatus(exit.Status))
		if exit.Status.Signaled() && m.phase.signal() == 0 {
			level = zapcore.WarnLevel // not of the master's doing
		}
	}
	switch {
	case report != nil:
		fields = append(fields, logging.Reason(string(report.Reason)),
			logging.BytesIn(report.BytesIn), logging.BytesOut(report.BytesOut))
		if len(values) > 0 {
			fields = append(fields, logging.Report(values))
		}
	case w.EndedForHangUp():
		fields = append(fields, logging.Reason(reasonHangUp))
	case exit != nil && c.Command().Control && exit.Status.ExitStatus() > 0:
		fields = append(fields, logging.Reason(ipc.ExitName(exit.Status.ExitStatus())))
	}
	if err := w.Violation(); err != nil {
		level = zapcore.WarnLevel
		fields = append(fields, logging.Error(err))
	}
	fields = append(fields, outcome.Fields()...)
	if leftovers > 0 {
		fields = append(fields, zap.Int("leftovers", leftovers))
	}
	fields = append(fields, logging.Duration(duration))
	if exit != nil {
		fields = append(append(fields, logging.Usage(&exit.Usage)...), logging.StderrTail(tail))
	}
	s.Log.Log(level, event, fields...)
}

// hasFailed reports whether a connection counts as failed for log = "failures". exit
// is nil where the worker lives on.
func hasFailed(w *workers.Worker, c *service.Connection, exit *process.Exit) bool {
	report := w.Report()
	switch {
	case w.Violation() != nil, report != nil && service.Failed(report.Reason):
		return true
	case exit == nil || exit.Status.ExitStatus() == 0:
		return false
	}
	// A worker says so when the client has reset the connection.
	return !(c.Command().Control && exit.Status.ExitStatus() == ipc.ExitReset)
}

// failConnection closes the account of a connection that got no worker.
func (m *Master) failConnection(c *service.Connection, err error) {
	c.Owner().Ledger.Failed(err)
	c.File.Close()
	defer m.releaseSlot(c)
	if c.LogsFailures() {
		c.Owner().Log.Error(logging.EventSpawnFailed, append(c.Origin(), logging.Error(err))...)
	}
	if m.once.enabled {
		m.once.result.ExitCode = 1
		m.once.failure = fmt.Errorf("spawn failed: %w", err)
	}
}

// dropGone closes the account of a connection whose client went away before a
// worker could be started.
func (m *Master) dropGone(c *service.Connection) {
	s := c.Owner()
	s.Gate.Refuse(admit.Gone)
	c.File.Close()
	defer m.releaseSlot(c)
	if c.LogRefused(admit.Gone, time.Now()) {
		m.startLimitTicker()
	}
	if m.once.enabled {
		m.once.result.ExitCode = 1
		m.once.failure = dispatch.ErrGone
	}
}

// releaseSlot gives a connection's slot back. With Once it stays taken: nobody
// else is to be served.
func (m *Master) releaseSlot(c *service.Connection) {
	if !m.once.enabled {
		c.Owner().Gate.Release(c.Slot, time.Now())
	}
}

// penalize refuses a source for a while when its worker ended as the service
// does not want workers to end. What the master ended itself does not count.
func (m *Master) penalize(w *workers.Worker, c *service.Connection, status unix.WaitStatus, o *workers.Outcome, now time.Time) {
	s, spec := c.Owner(), c.Spec
	bad := slices.Contains(spec.PenaltyExitCodes, status.ExitStatus()) ||
		status.Signaled() && slices.Contains(spec.PenaltySignals, status.Signal())
	switch {
	case m.phase.signal() != 0:
		return
	case o.Meets(spec.PenaltyLimits): // for which the master may have ended it
	case !bad || w.EndedByMaster():
		return
	}
	switch penalty, ok := s.Gate.Penalize(c.Slot, now); {
	case !ok:
		s.Log.Warn(logging.EventPenalized, logging.Conn(c.ID), c.Peer(), c.Source(penalty.Source),
			logging.Error(errors.New("no room for one more penalty: max-sources")))
	case penalty.Level > 0:
		s.Log.Info(logging.EventPenalized, logging.Conn(c.ID), c.Peer(), c.Source(penalty.Source),
			zap.Duration("penalty", penalty.Length), zap.Bool("dry_run", spec.PenaltyDryRun))
	}
}

// dropEarlyExits reports the children that have turned out to be nobody's worker.
func (m *Master) dropEarlyExits() {
	for _, exit := range m.workers.DropEarlyExits(m.dispatcher.InFlight() > 0) {
		m.unknownChild(exit)
	}
}

// unknownChild reports the end of a child that served no connection: an orphan,
// or as pid 1 of a container anybody's.
func (m *Master) unknownChild(exit process.Exit) {
	level := zapcore.InfoLevel
	if exit.Status.ExitStatus() == execFailedCode || int64(exit.Pid) == m.upgrades.rehearsal.Load() {
		level = zapcore.DebugLevel // "spawn failed" or "not upgraded" says so
	}
	fields := []zap.Field{logging.PID(exit.Pid), logging.ExitStatus(exit.Status)}
	m.log.Log(level, "reaped stranger", append(fields, logging.Usage(&exit.Usage)...)...)
}

// execFailedCode is the exit code of a child whose exec failed. The syscall
// package has chosen it, and os/exec does not tell the pid.
const execFailedCode = 253

// exitCode is a status as a shell's $? shows it.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

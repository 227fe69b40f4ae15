package master

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
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

package master

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/workers"
)

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
	}
	return fmt.Errorf("unexpected %v from a worker that is %v", t, state)
}

// ChannelClosed implements workers.Sink. A spare that closes its channel while a
// connection is on its way to it will never acknowledge it. Most such spares are
// about to exit: the kernel closes descriptors before it tells of the exit. One
// that has not exited at the next check of limits is ended. Then the connection
// goes to another worker.
func (m lifecycle) ChannelClosed(w *workers.Worker) {
	w.Pool().ChannelClosed(w, time.Now())
}

// Violation implements workers.Sink. The worker's connection ends with it.
func (m lifecycle) Violation(w *workers.Worker, err error) {
	if !w.Reaped() {
		w.Owner().Log.Warn("contract broken", logging.PID(w.PID()), logging.Error(err))
		m.signalWorker(w, unix.SIGKILL)
	}
}

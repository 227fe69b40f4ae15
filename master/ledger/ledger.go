package ledger

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/process"
)

// A Ledger is the account of one service. The zero Ledger is empty.
//
// Any goroutine may call Accepted, NoteShortage and Shortage. Everything else
// belongs to the master's loop.
type Ledger struct {
	accepted atomic.Uint64 // connections taken from the kernel
	shortage atomic.Int64  // when accepting last had to wait for resources; ns since 1970, 0 for never

	failed    [causes]uint64 // connections closed because no worker could be started
	completed uint64         // connections whose worker has ended or has gone on to the next one
	spawns    latency        // from the accept, or the decision to start a spare, to the exec
	handovers latency        // from the assignment to the spare's acknowledgement
	usage     usage
	trouble   Trouble
}

// A Trouble is the last failure to start a worker, if none has been started
// since. The zero Trouble is none.
type Trouble struct {
	At    time.Time
	Cause Cause
	exec  bool // a worker was started, and could not execute its program
}

// Accepted counts a connection that was taken from the kernel.
func (l *Ledger) Accepted() { l.accepted.Add(1) }

// NoteShortage notes that accepting has to wait for resources.
func (l *Ledger) NoteShortage(now time.Time) { l.shortage.Store(now.UnixNano()) }

// Shortage returns when accepting last had to wait for resources; the zero time
// if it never had to.
func (l *Ledger) Shortage() time.Time {
	if at := l.shortage.Load(); at > 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// WorkerStarted notes that a worker was started, which took as long as said. A
// worker that has yet to execute its program shows nothing about the program.
func (l *Ledger) WorkerStarted(took time.Duration) {
	if !l.trouble.exec {
		l.trouble = Trouble{}
	}
	l.spawns.record(took)
}

// WorkerNotStarted notes that a worker could not be started.
func (l *Ledger) WorkerNotStarted(err error, now time.Time) {
	l.trouble = Trouble{At: now, Cause: CauseOf(err)}
}

// ProgramRuns notes that a worker was started which is the program itself, or has
// executed it.
func (l *Ledger) ProgramRuns() { l.trouble = Trouble{} }

// ProgramNotRun notes that a worker was started and could not execute its program.
func (l *Ledger) ProgramNotRun(err error, now time.Time) {
	l.trouble = Trouble{At: now, Cause: CauseOf(err), exec: true}
}

// Trouble returns the last failure to start a worker, unless one was started
// since.
func (l *Ledger) Trouble() Trouble { return l.trouble }

// Failed closes the account of a connection that got no worker.
func (l *Ledger) Failed(err error) { l.failed[CauseOf(err)]++ }

// HandedOver notes how long a spare took to acknowledge its connection.
func (l *Ledger) HandedOver(took time.Duration) { l.handovers.record(took) }

// Completed closes the account of a connection that was served. report is what
// its worker said of it, or nil.
func (l *Ledger) Completed(duration time.Duration, report *ipc.Report) {
	l.completed++
	l.usage.connection(duration, report)
}

// WorkerExited adds what a worker has used that was reaped.
func (l *Ledger) WorkerExited(e *process.Exit) { l.usage.worker(e) }

// LimitsMet counts that a connection met limits of its box.
func (l *Ledger) LimitsMet(limits []string) {
	for _, limit := range limits {
		if l.usage.limits == nil {
			l.usage.limits = map[string]uint64{}
		}
		l.usage.limits[limit]++
	}
}

// LeftoversEnded counts processes that a worker had left behind.
func (l *Ledger) LeftoversEnded(n int) { l.usage.leftovers += uint64(n) }

// Totals returns the counts. refused is the count of the service's gate, read
// before: the number of accepted connections is read last, so that it misses
// none of those that the other numbers count.
func (l *Ledger) Totals(refused uint64) Totals {
	t := Totals{Refused: refused, Completed: l.completed}
	for _, n := range l.failed {
		t.Failed += n
	}
	t.Accepted = l.accepted.Load()
	return t
}

// Show fills in what a status tells of a service's account.
func (l *Ledger) Show(to *control.Service) {
	to.FailedByCause = map[string]uint64{}
	for cause, n := range l.failed {
		if n > 0 {
			to.FailedByCause[causeNames[cause]] = n
		}
	}
	to.SpawnLatency = l.spawns.show()
	to.HandoverLatency = l.handovers.show()
	to.Work = l.usage.show()
}

// Totals are the counts of the connections of one service or of all. A master hands
// those of services that are gone to the next one.
type Totals struct {
	Accepted  uint64 `json:"accepted"`
	Refused   uint64 `json:"refused"`
	Failed    uint64 `json:"failed"`
	Completed uint64 `json:"completed"`
}

// Live returns how many connections are alive, those on their way to a worker
// included.
func (t Totals) Live() uint64 { return t.Accepted - t.Refused - t.Failed - t.Completed }

// Add adds the totals of another service.
func (t *Totals) Add(other Totals) {
	t.Accepted += other.Accepted
	t.Refused += other.Refused
	t.Failed += other.Failed
	t.Completed += other.Completed
}

// Fields returns the totals as the log has them.
func (t Totals) Fields() []zap.Field {
	return []zap.Field{
		zap.Uint64("accepted", t.Accepted),
		zap.Uint64("refused", t.Refused),
		zap.Uint64("failed", t.Failed),
		zap.Uint64("reaped", t.Completed),
	}
}

// Show returns the totals as a status has them.
func (t Totals) Show() control.Counts {
	return control.Counts{Accepted: t.Accepted, Refused: t.Refused, Failed: t.Failed, Reaped: t.Completed}
}

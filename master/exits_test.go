package master

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/workers"
)

const spareKeys = "program = ['/bin/cat']\nhandoff = 'worker'\nspares = 1\nconnections-per-worker = 2\n"

// spare starts a spare that says it is ready, and returns the process behind it.
func (st *stage) spare() *actor {
	st.t.Helper()
	if started, _ := st.dispatcher.StartSpare(st.dispatcher.Pool(st.spec()), time.Now().Add(time.Hour)); !started {
		st.t.Fatalf("no spare was started")
	}
	a := st.actors[len(st.actors)-1]
	a.ready = true
	a.say(ipc.Ready)
	st.look()
	return a
}

// reserved accepts a connection, with a slot.
func (st *stage) reserved() string {
	st.t.Helper()
	if !st.spec().Owner().Gate.Reserve() {
		st.t.Fatalf("no slot is free")
	}
	c, _ := st.accept(st.spec())
	return c.ID
}

// events returns the fields of each event of a kind.
func (st *stage) events(msg string) (all []map[string]any) {
	for _, e := range st.logs.FilterMessage(msg).All() {
		fields := e.ContextMap()
		fields["level"] = e.Level
		all = append(all, fields)
	}
	return all
}

// exit lets the loop see the exit of an actor with a status.
func (st *stage) exit(a *actor, status unix.WaitStatus) {
	st.look()
	st.die(a)
	exit := process.Exit{Pid: a.pid, Status: status}
	exit.Usage.Maxrss = 1024
	st.dead = append(st.dead, exit)
	st.reap()
}

// One event says it all, the slot is free after it, and a signal that the master
// has not sent is a warning.
func TestReapedEvent(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	report, err := (&ipc.Report{Reason: ipc.ReasonEOF, BytesIn: 3, BytesOut: 4, Values: []ipc.Pair{{Key: "a", Value: "b"}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	id := st.reserved()
	a := st.actors[0]
	a.say(report)
	st.exit(a, 3<<8)
	got := st.events(logging.EventReaped)
	if len(got) != 1 {
		t.Fatalf("%v", got)
	}
	e := got[0]
	if e["conn"] != id || e["exit_code"] != int64(3) || e["reason"] != "eof" || e["bytes_in"] != uint64(3) || e["max_rss"] != int64(1<<20) || e["level"] != zapcore.InfoLevel {
		t.Errorf("%v", e)
	}
	if st.spec().Owner().Gate.Counts().Held != 0 {
		t.Error("the slot is not free")
	}
	st.reserved()
	st.exit(st.actors[1], unix.WaitStatus(unix.SIGSEGV))
	if e := st.events(logging.EventReaped)[1]; e["signal"] != "SIGSEGV" || e["level"] != zapcore.WarnLevel || e["reason"] != nil {
		t.Errorf("%v", e)
	}
}

// A worker that ends as the service does not want it to is held against its
// source, unless the master or the operator has ended it.
func TestPenalize(t *testing.T) {
	st := newStage(t, spareKeys+"penalty-exit-codes = [7]\npenalty-signals = ['SIGKILL']\n")
	defer st.end()
	for i, c := range []struct {
		prepare func(w *workers.Worker)
		status  unix.WaitStatus
		want    int
	}{
		{func(*workers.Worker) {}, 0, 0},
		{func(w *workers.Worker) { w.MarkKilled() }, unix.WaitStatus(unix.SIGKILL), 0},
		{func(w *workers.Worker) { w.TimeoutSignal(time.Now().Add(24*365*time.Hour), 0) }, 0, 0},
		{func(*workers.Worker) {}, 7 << 8, 1},
	} {
		st.reserved()
		st.look()
		a := st.actors[len(st.actors)-1]
		c.prepare(st.worker(a))
		st.exit(a, c.status)
		if n := len(st.events(logging.EventPenalized)); n != c.want {
			t.Errorf("case %d: %d penalties", i, n)
		}
	}
}

// A spare that closes its channel while a connection is on its way to it is ended
// at the next check, and the connection goes to another worker. One that exits by
// itself is not called overdue.
func TestSpareHangsUpWhileAssigned(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	a := st.spare()
	id := st.reserved()
	if w := st.worker(a); w.State() != workers.Assigned {
		t.Fatalf("the spare is %v", w.State())
	}
	unix.Close(a.control)
	a.control = -1
	st.look()
	st.look()
	if early := st.events("worker overdue"); len(early) != 0 {
		t.Fatalf("%v, before it could exit", early)
	}
	st.checkLimits(time.Now().Add(time.Second))
	overdue := st.events("worker overdue")
	if len(overdue) != 1 || overdue[0]["reason"] != "assigned" || overdue[0]["signal"] != "SIGKILL" {
		t.Fatalf("%v", overdue)
	}
	st.exit(a, unix.WaitStatus(unix.SIGKILL))
	if n := len(st.events("reassigned")); n != 1 || st.served[id] != 1 {
		t.Errorf("reassigned %d times, %d processes have had it", n, st.served[id])
	}
	st.look()
	if st.workers.Serving(id) == nil {
		t.Error("no worker has the connection")
	}
}

// While the workers are being ended, a connection that no worker has touched
// fails.
func TestNoReassignmentWhileStopping(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	a := st.spare()
	id := st.reserved()
	st.phase.now = killing
	st.exit(a, unix.WaitStatus(unix.SIGKILL))
	if failed := st.events(logging.EventSpawnFailed); len(failed) != 1 || failed[0]["conn"] != id {
		t.Errorf("%v", failed)
	}
	if totals := st.spec().Owner().Totals(); totals.Failed != 1 || totals.Live() != 0 {
		t.Errorf("%+v", totals)
	}
}

// A drain belongs to the service's name: a worker whose start is under way when
// the service is drained hears of it, whatever Spec it was started by.
func TestDrainReachesStartingWorker(t *testing.T) {
	for name, drain := range map[string]func(*stage){
		"drained": func(st *stage) { st.drainService(st.spec().Owner(), "test") },
		"removed": func(st *stage) { st.remove() },
		"master":  func(st *stage) { st.advance(drainRequested, "test") },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, spareKeys)
			defer st.end()
			st.reserved()
			registered := st.actors[0]
			st.look()
			st.reload(1)
			st.reserved() // by the next Spec; the loop has not heard of it
			starting := st.actors[1]
			drain(st)
			st.look()
			for i, a := range []*actor{registered, starting} {
				typ, _, err := ipc.Receive(a.control, make([]byte, ipc.MaxMessage), unix.MSG_DONTWAIT)
				if typ != ipc.TypeDrain || err != nil {
					t.Errorf("worker %d received %v, %v", i, typ, err)
				}
			}
		})
	}
}

// A start that fails says so, and is a problem until one succeeds.
func TestFailedStart(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	st.refuse = unix.ENOENT
	id := st.reserved()
	st.look()
	if failed := st.events(logging.EventSpawnFailed); len(failed) != 1 || failed[0]["conn"] != id {
		t.Errorf("%v", failed)
	}
	l := &st.spec().Owner().Ledger
	if l.Trouble().At.IsZero() || l.Trouble().Cause.String() != "program-missing" {
		t.Errorf("%+v", l.Trouble())
	}
	st.reserved()
	if st.look(); !l.Trouble().At.IsZero() {
		t.Error("a worker was started, and the trouble is still there")
	}
}

// With Once the one connection's end is the master's, and its slot stays taken.
func TestOneConnection(t *testing.T) {
	st := newStage(t, "program = ['/bin/cat']\n")
	defer st.end()
	st.once.enabled = true
	st.refuse = unix.ENOENT
	st.reserved()
	st.look()
	if !st.loop.isStopping() || st.once.result.ExitCode != 1 || !errors.Is(st.once.failure, unix.ENOENT) {
		t.Errorf("stopping %v, %+v", st.loop.isStopping(), st.once)
	}
	if st.spec().Owner().Gate.Counts().Held != 1 {
		t.Error("the slot is free again")
	}
}

func TestExitCode(t *testing.T) {
	for status, want := range map[unix.WaitStatus]int{0: 0, 3 << 8: 3, unix.WaitStatus(unix.SIGKILL): 137} {
		if got := exitCode(status); got != want {
			t.Errorf("%v: %d, want %d", status, got, want)
		}
	}
}

// A connection whose spare has died goes to nobody when its client has gone
// meanwhile. It is refused, and its slot is free.
func TestReassignedClientHasGone(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	a := st.spare()
	st.leave = true
	id := st.reserved()
	st.exit(a, unix.WaitStatus(unix.SIGKILL))
	st.look()
	refused := st.events(logging.EventRefused)
	if len(refused) != 1 || refused[0]["reason"] != "gone" || refused[0]["conn"] != id || st.served[id] != 0 {
		t.Fatalf("%v, served %d times", refused, st.served[id])
	}
	s := st.spec().Owner()
	if totals := s.Totals(); totals.Refused != 1 || totals.Live() != 0 || s.Gate.Counts().Held != 0 {
		t.Errorf("%+v, %d slots held", totals, s.Gate.Counts().Held)
	}
}

package workers

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// A stage is a Set and a Pool without processes: the test plays the workers, over
// real control channels, the kernel that reaps, and the Sink.
type stage struct {
	t    testing.TB
	set  *Set
	pool *Pool
	logs *observer.ObservedLogs

	nextPID int         // above every pid that there can be (PID_MAX_LIMIT)
	ends    map[int]int // the worker's end of a control channel, by pid
	stderrs map[int]int // the worker's end of its stderr, if that leads to the log

	zombies []process.Exit // ended, and not reaped
	asked   int            // how often the kernel was asked for one child
	scans   int            // how often it was asked for all

	// What the sink was told, in order.
	told []string
	// onMessage is what the sink does with a message; nil for what the master
	// does with those of spares.
	onMessage func(w *Worker, t ipc.Type, body []byte) error
}

func newStage(t testing.TB, keys string) *stage {
	core, logs := observer.New(zapcore.InfoLevel)
	st := &stage{t: t, logs: logs, nextPID: 1 << 22, ends: map[int]int{}, stderrs: map[int]int{}}
	var err error
	st.set, err = NewSet(st, zap.New(core), st.wait)
	if err != nil {
		t.Fatal(err)
	}
	st.pool = NewPool(servicetest.Spec(t, keys, zap.New(core)))
	t.Cleanup(func() {
		for _, fd := range st.ends {
			unix.Close(fd)
		}
		for w := range st.set.All() {
			w.channel.Close()
		}
		st.set.Close()
	})
	return st
}

// start gives a worker a process that the test plays.
func (st *stage) start(w *Worker) *Worker {
	st.t.Helper()
	if err := w.Start(st); err != nil {
		st.t.Fatal(err)
	}
	return w
}

// Start implements Starter.
func (st *stage) Start(c *process.Command, _ *os.File, _ []string, message []byte) (*process.Child, error) {
	st.nextPID++
	if st.pool.spec.Stderr == config.StderrLog {
		fd, err := unix.FcntlInt(c.Stderr.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		st.stderrs[st.nextPID] = fd
		st.t.Cleanup(func() { unix.Close(fd) })
	}
	if !c.Control {
		return &process.Child{Pid: st.nextPID, Control: -1}, nil
	}
	master, worker, err := ipc.NewChannel()
	if err != nil {
		return nil, err
	}
	if message != nil {
		if err := ipc.Send(master, message); err != nil {
			return nil, err
		}
	}
	st.ends[st.nextPID] = worker
	return &process.Child{Pid: st.nextPID, Control: master}, nil
}

// say has a worker send a message.
func (st *stage) say(w *Worker, message []byte) {
	st.t.Helper()
	if err := ipc.Send(st.ends[w.PID()], message); err != nil {
		st.t.Fatal(err)
	}
}

// hangUp has a worker close its end.
func (st *stage) hangUp(w *Worker) {
	unix.Close(st.ends[w.PID()])
	delete(st.ends, w.PID())
}

// die ends a worker's process; it is reaped when the set asks.
func (st *stage) die(w *Worker) {
	if _, open := st.ends[w.PID()]; open {
		st.hangUp(w)
	}
	st.zombies = append(st.zombies, process.Exit{Pid: w.PID()})
}

func (st *stage) wait(pid int) (process.Exit, bool) {
	if pid == process.AnyChild {
		st.scans++
	} else {
		st.asked++
	}
	for i, exit := range st.zombies {
		if pid == process.AnyChild || pid == exit.Pid {
			st.zombies = append(st.zombies[:i:i], st.zombies[i+1:]...)
			return exit, true
		}
	}
	return process.Exit{}, false
}

// spare starts and registers a spare that is ready.
func (st *stage) spare(now time.Time) *Worker {
	st.t.Helper()
	w := st.starting(now)
	st.say(w, ipc.Ready)
	st.set.Read(w)
	if w.State() != Idle {
		st.t.Fatalf("a spare that is ready is %v, %v", w.State(), w.Violation())
	}
	return w
}

// starting starts and registers a spare.
func (st *stage) starting(now time.Time) *Worker {
	st.t.Helper()
	if start, wait := st.pool.ReserveStart(now); !start {
		st.t.Fatalf("the pool wants no spare, for %v", wait)
	}
	w := st.start(NewSpare(st.pool, now))
	st.set.Register(w)
	return w
}

// serving starts and registers a worker for a connection.
func (st *stage) serving() *Worker {
	st.t.Helper()
	w := st.start(NewWorker(st.pool, st.connection()))
	st.set.Register(w)
	return w
}

func (st *stage) connection() *service.Connection {
	c, _ := servicetest.Connection(st.t, st.pool.spec, fmt.Sprint("c", st.nextPID))
	return c
}

// The stage is the Sink.

func (st *stage) note(format string, args ...any) {
	st.told = append(st.told, fmt.Sprintf(format, args...))
}

func (st *stage) Message(w *Worker, t ipc.Type, body []byte) error {
	if st.onMessage != nil {
		return st.onMessage(w, t, body)
	}
	state := w.State()
	switch {
	case t == ipc.TypeReady && state == Starting:
		w.Pool().Add(w, time.Now())
	case t == ipc.TypeAck && state == Assigned:
		w.Pool().Confirm(w, time.Now())
		st.set.ParkIfIdle(w, time.Now())
	case t == ipc.TypeReport && state == Serving && w.Report() == nil:
		report, err := ipc.DecodeReport(body)
		if err != nil {
			return err
		}
		w.SetReport(&report)
	default:
		return errors.New("out of place")
	}
	return nil
}

func (st *stage) ChannelClosed(w *Worker) {
	st.note("closed %d while %v", w.PID(), w.State())
	w.Pool().ChannelClosed(w, time.Now())
}

func (st *stage) Violation(w *Worker, err error) { st.note("violation %d: %v", w.PID(), err) }

func (st *stage) Exited(w *Worker, exit process.Exit) {
	state, c := w.Pool().MarkReaped(w)
	st.note("exited %d, %v, connection %v", exit.Pid, state, c != nil)
}

func (st *stage) Reaped(pid int) {}

func (st *stage) Stopped(w *Worker) { st.note("stopped %d by %v", w.PID(), w.StoppedBy()) }

func (st *stage) Continued(w *Worker) { st.note("continued %d", w.PID()) }

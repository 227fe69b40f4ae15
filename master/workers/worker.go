package workers

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
)

// A Worker is a process that the master started and has not reaped yet. It is
// tracked because:
//
//  1. its slot, and its source's count, are held until it is reaped;
//  2. its process group may be signalled only while its pid cannot have passed
//     to another process, which is until it is reaped;
//  3. what it reported lies in its control channel until it is reaped;
//  4. the one log event of its connection needs to say whose it was;
//  5. as a spare it may be given a connection, and if it dies before it has
//     acknowledged it, the connection goes to another.
type Worker struct {
	pool    *Pool
	created time.Time
	version string // of the master that started it, as ipc.Version
	watched bool   // its messages are read as they come; otherwise when it is reaped
	child   *process.Child
	channel Channel
	command *process.Command
	stderr  *StderrReader // nil unless its stderr leads to the log

	// The loop owns what follows.

	report        *ipc.Report  // what it said of its connection, if it has said it
	failure       *ipc.Failure // why it could not become its program, or nil
	violation     error        // how it broke the contract, or nil
	killed        bool         // somebody had it signalled for its connection
	termSentAt    time.Time    // when it had SIGTERM for a connection that should have ended
	nextIdleCheck time.Time    // when to ask again whether the connection is idle
	clientGoneAt  time.Time    // when it turned out that the connection's client had gone
	// endedForHangUp says that the worker had SIGTERM for that.
	endedForHangUp bool
	leftovers      map[int]bool    // what it has left behind, as far as it was seen
	remains        process.Remains // what its cell has told
	limit          string          // the limit for which the master ends it, or ""
	cpuBefore      time.Duration   // what it had used before its connection
	boxError       error           // why it has never executed what it was started as, or nil
	stoppedBy      unix.Signal     // that has stopped its process (stops.go), or 0
	reaped         bool            // its pid may be another process's

	// A copy that was parked, the loop owns. See copies.go.
	parkedCopy parkedCopy
	socket     uint64 // inode of the socket that the copy is of; 0 until it is needed

	mu     sync.Mutex // guards what follows: connections are given to spares off the loop
	state  State
	since  time.Time // of the state
	conn   *service.Connection
	served int // connections that it was given
	// holdsCopy says that the master has a copy of conn, wherever that is.
	holdsCopy bool
	// hungUpAt is when it closed its channel with a connection on its way to it.
	hungUpAt time.Time
}

// NewSpare returns a worker that is to be started ahead of its connection.
func NewSpare(p *Pool, now time.Time) *Worker {
	return &Worker{pool: p, created: now, version: ipc.Version, watched: true, since: now}
}

// NewWorker returns a worker that is to be started for a connection.
func NewWorker(p *Pool, c *service.Connection) *Worker {
	return &Worker{
		pool:    p,
		created: c.Accepted,
		version: ipc.Version,
		watched: p.spec.ConnectionsPerWorker > 1 && !c.NeedsFreshProcess(),
		state:   Serving,
		since:   c.Accepted,
		conn:    c,
		served:  1,
	}
}

// A Starter starts processes, as process.Command.Start does.
type Starter interface {
	Start(c *process.Command, conn *os.File, env []string, message []byte) (*process.Child, error)
}

// Start gives the worker its process, and a stderr that leads to the log if the
// service wants that. When it succeeds, the master's copy of the connection is
// closed, unless the connection keeps it to its end (copies.go). When it fails,
// there is no process, and the connection has its copy. Nothing is started by a former
// Spec.
func (w *Worker) Start(starter Starter) error {
	if err := w.Spec().CheckCurrent(); err != nil {
		return err
	}
	var (
		command = w.Spec().SpareCommand()
		env     = w.Spec().SpareEnvironment()
		file    *os.File
		message []byte
	)
	if w.conn != nil {
		command, env, file = w.conn.Command(), w.conn.Environment(), w.conn.File
		if command.Control {
			var err error
			if message, err = w.conn.Assignment(w.Reusable(), false); err != nil {
				return err
			}
		}
	}
	if w.Spec().Stderr == config.StderrLog {
		reader, end, err := NewStderrReader(w.Owner().Log)
		if err != nil {
			return err
		}
		defer end.Close()
		own := *command
		own.Stderr = end
		command, w.stderr = &own, reader
		if w.conn != nil {
			reader.Serves(w.conn.ID)
		}
	}
	child, err := starter.Start(command, file, env, message)
	if w.stderr != nil {
		if err == nil {
			w.stderr.pid.Store(int64(child.Pid))
		}
		go w.stderr.run()
		if err != nil {
			w.stderr.Close()
			w.stderr = nil
		}
	}
	if err != nil {
		return err
	}
	if w.conn != nil {
		w.settleCopy()
	}
	w.child, w.command = child, command
	w.channel.open(child.Control)
	return nil
}

// Spec returns the specification that the worker was started by.
func (w *Worker) Spec() *service.Spec { return w.pool.spec }

// Owner returns the service that the worker belongs to.
func (w *Worker) Owner() *service.Service { return w.pool.spec.Owner() }

// Version returns the version of the master that started the worker.
func (w *Worker) Version() string { return w.version }

// Pool returns the pool that the worker belongs to, or may come back to.
func (w *Worker) Pool() *Pool { return w.pool }

// PID returns the worker's pid, 0 before it was started.
func (w *Worker) PID() int {
	if w.child == nil {
		return 0
	}
	return w.child.Pid
}

// Watched reports whether the worker's messages are read as they come.
func (w *Worker) Watched() bool { return w.watched }

// Stderr returns what reads the worker's stderr, or nil.
func (w *Worker) Stderr() *StderrReader { return w.stderr }

// TailSince returns the time from which on what the worker wrote to its stderr is
// about its connection, or about none: what it wrote during an earlier connection
// is not.
func (w *Worker) TailSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil && w.served > 1 {
		return w.conn.Accepted
	}
	return w.created
}

// State returns the worker's state.
func (w *Worker) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Connection returns the connection that the worker has or is to have, or nil.
func (w *Worker) Connection() *service.Connection {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conn
}

// Standing returns the worker's state and its connection at one moment.
func (w *Worker) Standing() (State, *service.Connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.conn
}

// Reusable reports whether the connection that the worker has is not its last.
func (w *Worker) Reusable() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.served < w.Spec().ConnectionsPerWorker && (w.conn == nil || !w.conn.NeedsFreshProcess())
}

// enter changes the state. w.mu is held.
func (w *Worker) enter(s State, now time.Time) { w.state, w.since = s, now }

// Report returns what the worker has said of its connection, or nil.
func (w *Worker) Report() *ipc.Report { return w.report }

// SetReport keeps what the worker has said of its connection.
func (w *Worker) SetReport(r *ipc.Report) { w.report = r }

// Program returns the path of the program that the worker executes once it has
// its connection. It is empty for a worker that is the handler itself.
func (w *Worker) Program() string { return w.command.Program }

// Failure returns why the worker could not become its program, or nil.
func (w *Worker) Failure() *ipc.Failure { return w.failure }

// Failed reports whether the worker has never become its program.
func (w *Worker) Failed() bool { return w.failure != nil || w.boxError != nil }

// FailureError returns the error of a worker that has never become its program.
// It reads the program's file, and so may wait for a file system.
func (w *Worker) FailureError() error {
	switch {
	case w.boxError != nil:
		return w.boxError
	case w.failure.Step == ipc.FailedExec:
		return w.command.ExecError(w.command.Program, w.failure.Errno)
	}
	return fmt.Errorf("start %s: %v: %w", w.command.Program, w.failure.Step, w.failure.Errno)
}

// BoxError returns why the worker has never executed what it was started as, or nil.
func (w *Worker) BoxError() error { return w.boxError }

// SetFailure keeps why the worker could not become its program.
func (w *Worker) SetFailure(f *ipc.Failure) { w.failure = f }

// Violation returns how the worker broke the contract, or nil.
func (w *Worker) Violation() error { return w.violation }

// Reaped reports whether the worker was reaped, so that its pid must not be
// signalled any more.
func (w *Worker) Reaped() bool { return w.reaped }

// Killed reports whether somebody had the worker signalled for its connection.
func (w *Worker) Killed() bool { return w.killed }

// MarkKilled notes that somebody had the worker signalled for its connection:
// how it ends now is not its client's fault, and nobody else is to have the
// connection.
func (w *Worker) MarkKilled() { w.killed = true }

// Ending reports whether the master has told the worker to end.
func (w *Worker) Ending() bool {
	state := w.State()
	return state == Retiring || state == Broken || w.killed || !w.termSentAt.IsZero()
}

// EndedByMaster reports whether the worker's end is the master's doing or the
// operator's, and so nothing to hold against the client.
func (w *Worker) EndedByMaster() bool {
	return w.killed || w.violation != nil || !w.termSentAt.IsZero()
}

// FinishConnection forgets a connection whose end has been accounted for. The
// worker lives on.
func (w *Worker) FinishConnection() {
	w.report, w.killed, w.termSentAt, w.nextIdleCheck = nil, false, time.Time{}, time.Time{}
	w.clientGoneAt, w.endedForHangUp = time.Time{}, false
	w.limit = ""
	if w.Spec().Box.CPUTimeMax > 0 {
		w.cpuBefore = w.CPUTime()
	}
}

// Drain tells a worker with a connection to bring it to an end. A worker that is
// about to read its assignment finds the message after that.
func (w *Worker) Drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil && (w.state == Serving || w.state == Assigned) {
		// A worker that is about to exit does not hear it, nor does a program
		// that knows nothing of messages; neither needs to.
		_ = w.channel.Send(ipc.Drain)
	}
}

// Signal signals the worker's process group. The worker must not have been
// reaped.
func (w *Worker) Signal(sig unix.Signal) error {
	err := process.SignalGroup(w.child.Pid, sig)
	if sig == unix.SIGTERM {
		// A stopped process acts on SIGTERM when it goes on, and not before.
		_ = process.SignalGroup(w.child.Pid, unix.SIGCONT)
	}
	return err
}

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
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// ended closes the books on a worker that has been reaped: takes in what it
// said last, gives its slot back, and writes the one event that says it all. A
// connection that it was to have and had not taken goes to another worker,
// unless somebody wanted its end.
func (m *Master) ended(w *worker, exit process.Exit) {
	m.hear(w) // the exit can overtake the report
	w.stderr.close()
	now := time.Now()
	w.service.work.ended(&exit)
	p := w.service.pool
	p.mu.Lock()
	state, c := w.state, w.conn
	w.conn = nil
	p.remove(w)
	p.left(w)
	w.closeControl()
	p.mu.Unlock()
	switch {
	case c == nil:
		m.spareEnded(w, state, exit)
	case state == assigned && !w.signalled:
		m.spareEnded(w, state, exit)
		m.reassign(c)
	default:
		// Of a spare that broke the contract before it had the connection, or
		// was killed for it: then nobody else is to have it.
		c.file.Close()
		m.connectionEnded(w, c, &exit, now)
		if m.once {
			m.result.ExitCode = exitCode(exit.Status)
		}
	}
}

// spareEnded reports the end of a worker that had no connection, or had not
// taken it yet.
func (m *Master) spareEnded(w *worker, state state, exit process.Exit) {
	level := zapcore.InfoLevel
	if state != retiring {
		if m.stop.signal() == 0 {
			level = zapcore.WarnLevel // not of the master's doing
		}
		if w.breach == nil {
			w.service.pool.failed(time.Now(), state == starting)
		}
	}
	fields := []zap.Field{logging.PID(exit.Pid), howEnded(exit.Status), logging.Reason(state.String() + " spare")}
	if w.breach != nil {
		fields = append(fields, logging.Error(w.breach))
	}
	w.service.log.Log(level, logging.EventReaped, append(fields, usage(&exit.Usage)...)...)
}

// reassign gives a connection that no worker has touched to another one, unless
// the workers are being ended.
func (m *Master) reassign(c *connection) {
	if m.stop.signal() != 0 {
		m.spawnFailed(c, errStopping)
		return
	}
	c.service.log.Info("reassigned", logging.Conn(c.id), c.peer())
	m.spawning.Add(1)
	m.background(func() { m.again(c) })
}

var errStopping = errors.New("the spare for it ended, and the service stops")

// moveOn closes the books on the connection of a worker that lives on and has
// said that it is ready for the next. It is in the pool before the slot is
// free: by then a process stands for neither more nor less than one of the two.
func (m *Master) moveOn(w *worker, now time.Time) {
	c := w.conn
	if !w.service.pool.comeBack(w, now) {
		return // it keeps its connection until it has been reaped
	}
	m.connectionEnded(w, c, nil, now)
	w.report, w.warned, w.signalled, w.nextLook = nil, time.Time{}, false, time.Time{}
}

// connectionEnded gives the slot back and writes the event of a connection that
// was served: reaped, or ended where the worker lives on and exit is nil.
func (m *Master) connectionEnded(w *worker, c *connection, exit *process.Exit, now time.Time) {
	s := c.service
	s.reaped++
	s.work.served(now.Sub(c.accepted), w.report)
	// The slot comes last: by the log, too, there are never more connections
	// alive than slots.
	defer m.release(c)
	if exit != nil {
		m.penalize(w, c, exit.Status, now)
	}

	event, level := logging.EventEnded, zapcore.InfoLevel
	fields := make([]zap.Field, 0, 16)
	fields = append(fields, logging.Conn(c.id), c.peer(), logging.Local(c.local), logging.PID(w.child.Pid))
	if exit != nil {
		event = logging.EventReaped
		fields = append(fields, howEnded(exit.Status))
		if exit.Status.Signaled() && m.stop.signal() == 0 {
			level = zapcore.WarnLevel // not of the master's doing
		}
	}
	switch {
	case w.report != nil:
		fields = append(fields, logging.Reason(string(w.report.Reason)),
			logging.BytesIn(w.report.BytesIn), logging.BytesOut(w.report.BytesOut))
		if values := s.withoutConfinement(w.report.Values); len(values) > 0 {
			fields = append(fields, logging.Report(values))
		}
	case exit != nil && c.command().Control && exit.Status.ExitStatus() > 0:
		fields = append(fields, logging.Reason(ipc.ExitName(exit.Status.ExitStatus())))
	}
	if w.breach != nil {
		level = zapcore.WarnLevel
		fields = append(fields, logging.Error(w.breach))
	}
	fields = append(fields, logging.Duration(now.Sub(c.accepted)))
	if exit != nil {
		fields = append(fields, usage(&exit.Usage)...)
	}
	s.log.Log(level, event, fields...)
}

// stranger reports the end of a child that served no connection: an orphan, or
// as pid 1 of a container anybody's.
func (m *Master) stranger(exit process.Exit) {
	level := zapcore.InfoLevel
	if exit.Status.ExitStatus() == failedExec {
		level = zapcore.DebugLevel // "spawn failed" has said so already
	}
	fields := []zap.Field{logging.PID(exit.Pid), howEnded(exit.Status)}
	m.log.Log(level, "reaped stranger", append(fields, usage(&exit.Usage)...)...)
}

// failedExec is the exit code of a child whose exec failed. The syscall
// package has chosen it, and os/exec does not tell the pid.
const failedExec = 253

// spawnFailed closes the books on a connection that got no worker.
func (m *Master) spawnFailed(c *connection, err error) {
	c.service.failed[causeOf(err)]++
	c.file.Close()
	defer m.release(c)
	c.service.log.Error(logging.EventSpawnFailed, logging.Conn(c.id),
		c.peer(), logging.Local(c.local), logging.Error(err))
	if m.once {
		m.result.ExitCode = 1
		m.failure = fmt.Errorf("spawn failed: %w", err)
	}
}

// release gives a connection's slot back. With Once it stays taken: nobody else
// is to be served.
func (m *Master) release(c *connection) {
	if !m.once {
		c.service.gate.Release(c.slot, time.Now())
	}
}

// penalize refuses a source for a while when its worker ended as the service
// does not want workers to end. What the master ended itself does not count.
func (m *Master) penalize(w *worker, c *connection, status unix.WaitStatus, now time.Time) {
	s := c.service
	bad := slices.Contains(s.PenaltyExitCodes, status.ExitStatus()) ||
		status.Signaled() && slices.Contains(s.PenaltySignals, status.Signal())
	if !bad || m.stop.signal() != 0 || !w.warned.IsZero() || w.signalled || w.breach != nil {
		return
	}
	switch penalty, ok := s.gate.Penalize(c.slot, now); {
	case !ok:
		s.log.Warn(logging.EventPenalized, logging.Conn(c.id), c.peer(), c.privacy.source(penalty.Source),
			logging.Error(errors.New("no room for one more penalty: max-sources")))
	case penalty.Level > 0:
		s.log.Info(logging.EventPenalized, logging.Conn(c.id), c.peer(), c.privacy.source(penalty.Source),
			zap.Duration("penalty", penalty.Length), zap.Bool("dry_run", s.PenaltyDryRun))
	}
}

// withoutConfinement takes out of a report what a built-in handler's worker says
// of its confinement. The first such word is worth a warning; what the kernel
// lacks it lacks for all workers.
func (s *service) withoutConfinement(values []ipc.Pair) []ipc.Pair {
	if s.Handler == "" {
		return values
	}
	return slices.DeleteFunc(values, func(v ipc.Pair) bool {
		if v.Key != ipc.ValueUnconfined {
			return false
		}
		if !s.warnedUnconfined {
			s.warnedUnconfined = true
			s.log.Warn("workers are not fully confined", logging.Reason(v.Value))
		}
		return true
	})
}

// howEnded is the exit code of a child, or the signal that ended it.
func howEnded(status unix.WaitStatus) zap.Field {
	if status.Signaled() {
		return logging.Signal(status.Signal())
	}
	return logging.ExitCode(status.ExitStatus())
}

// usage returns what a child used as fields. The kernel counts the peak
// resident set in KiB (getrusage(2)).
func usage(u *unix.Rusage) []zap.Field {
	return []zap.Field{
		logging.UserTime(time.Duration(u.Utime.Nano())),
		logging.SysTime(time.Duration(u.Stime.Nano())),
		logging.MaxRSS(u.Maxrss << 10),
	}
}

// exitCode is a status as a shell's $? shows it.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

package master

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// ended closes the books on a worker that has been reaped: reads what it
// reported, gives its slot back, and writes the one event that says it all.
func (m *Master) ended(w *worker, exit process.Exit) {
	s := w.service
	s.counts.reaped++
	report, reportErr := m.readReport(w)
	m.release(w)
	if m.cfg.Once {
		m.result.ExitCode = exitCode(exit.Status)
	}

	fields := make([]zap.Field, 0, 16)
	fields = append(fields, logging.Conn(w.id), logging.PID(exit.Pid),
		logging.Peer(w.peer), logging.Local(w.local))
	level := zapcore.InfoLevel
	if exit.Status.Signaled() {
		fields = append(fields, logging.Signal(exit.Status.Signal()))
		if m.stop.signal() == 0 {
			level = zapcore.WarnLevel // not of the master's doing
		}
	} else {
		fields = append(fields, logging.ExitCode(exit.Status.ExitStatus()))
	}
	switch code := exit.Status.ExitStatus(); {
	case report != nil:
		fields = append(fields, logging.Reason(string(report.Reason)),
			logging.BytesIn(report.BytesIn), logging.BytesOut(report.BytesOut))
	case s.command.Control && code > 0:
		fields = append(fields, logging.Reason(ipc.ExitName(code)))
	}
	if reportErr != nil {
		level = zapcore.WarnLevel
		fields = append(fields, logging.Error(reportErr))
	}
	fields = append(fields, logging.Duration(time.Since(w.accepted)))
	s.log.Log(level, logging.EventReaped, append(fields, usage(&exit.Usage)...)...)
}

// stranger reports the end of a child that served no connection: an orphan, or
// as pid 1 of a container anybody's.
func (m *Master) stranger(exit process.Exit) {
	ended := logging.ExitCode(exit.Status.ExitStatus())
	level := zapcore.InfoLevel
	switch {
	case exit.Status.Signaled():
		ended = logging.Signal(exit.Status.Signal())
	case exit.Status.ExitStatus() == failedExec:
		level = zapcore.DebugLevel // "spawn failed" has said so already
	}
	m.log.Log(level, "reaped stranger", append([]zap.Field{logging.PID(exit.Pid), ended}, usage(&exit.Usage)...)...)
}

// failedExec is the exit code of a child whose exec failed. The syscall
// package has chosen it, and os/exec does not tell the pid.
const failedExec = 253

// spawnFailed closes the books on a connection that got no worker.
func (m *Master) spawnFailed(w *worker, err error) {
	w.service.counts.failed++
	m.release(w)
	w.service.log.Error(logging.EventSpawnFailed, logging.Conn(w.id),
		logging.Peer(w.peer), logging.Local(w.local), logging.Error(err))
	if m.cfg.Once {
		m.result.ExitCode = 1
		m.failure = fmt.Errorf("spawn failed: %w", err)
	}
}

// release gives a worker's slot back. With Once there is one slot and it is
// never free again.
func (m *Master) release(w *worker) {
	if !m.cfg.Once {
		w.service.gate.Release(w.source)
	}
}

// readReport returns what a reaped worker said and closes its channel. All that
// it will ever say lies in the socket by now, though its exit may have been
// seen first. It returns nil without a report: the worker said nothing, or has
// no channel. The contract allows one message, so one is read, and a grandchild
// that holds the other end cannot keep the master busy.
func (m *Master) readReport(w *worker) (*ipc.Report, error) {
	if w.child.Control < 0 {
		return nil, nil
	}
	defer unix.Close(w.child.Control)
	t, body, err := ipc.Receive(w.child.Control, m.message[:], unix.MSG_DONTWAIT)
	switch {
	case err == io.EOF, err == unix.EAGAIN, err == unix.ECONNRESET:
		// Reset: the worker died with its assignment unread.
		return nil, nil
	case err == nil && t != ipc.TypeReport:
		err = fmt.Errorf("unexpected %v", t)
	}
	var report ipc.Report
	if err == nil {
		report, err = ipc.DecodeReport(body)
	}
	if err != nil {
		return nil, fmt.Errorf("control channel: %w", err)
	}
	return &report, nil
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

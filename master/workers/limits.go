package workers

import (
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// The limits that a connection can meet, as the log, the metrics and penalty-limits
// name them.
const (
	LimitMemory   = "memory"
	LimitTasks    = "tasks"
	LimitCPU      = "cpu"
	LimitRuntime  = "runtime"
	LimitFileSize = "file-size"
	LimitDenied   = "denied" // a system call
)

// Meets reports whether one of some limits was met.
func (o *Outcome) Meets(limits []config.PenaltyLimit) bool {
	for _, limit := range limits {
		name := string(limit)
		if limit == config.PenaltyOOM {
			name = LimitMemory
		}
		if slices.Contains(o.Limits, name) {
			return true
		}
	}
	return false
}

// Outcome is what a box has done to a connection and what that has used.
type Outcome struct {
	Limits []string // that were met
	// Denied are system calls that the policy of the box denies, also where it lets them
	// go on (system-calls-action).
	Denied     []string
	OOMKills   uint64
	MemoryPeak uint64 // bytes; 0 is unknown
	TasksPeak  int    // 0 is unknown
	CPUTime    time.Duration
}

// Fields are the fields of the event of the connection's end.
func (o *Outcome) Fields() (fields []zap.Field) {
	if len(o.Limits) > 0 {
		fields = append(fields, zap.String("limit", strings.Join(o.Limits, ",")))
	}
	switch {
	case len(o.Denied) > 0:
		fields = append(fields, zap.String("denied", strings.Join(o.Denied, ",")))
	case slices.Contains(o.Limits, LimitDenied):
		fields = append(fields, zap.String("denied", "system call")) // the kernel does not tell which
	}
	if o.OOMKills > 0 {
		fields = append(fields, zap.Uint64("oom", o.OOMKills))
	}
	if o.MemoryPeak > 0 {
		fields = append(fields, zap.Uint64("memory_peak", o.MemoryPeak))
	}
	if o.TasksPeak > 0 {
		fields = append(fields, zap.Int("tasks_peak", o.TasksPeak))
	}
	if o.CPUTime > 0 {
		fields = append(fields, zap.Duration("cpu_time", o.CPUTime))
	}
	return fields
}

// Outcome returns what a worker has met that has ended with a status.
func (w *Worker) Outcome(status unix.WaitStatus) Outcome {
	var o Outcome
	met := func(limit string, is bool) {
		if is {
			o.Limits = append(o.Limits, limit)
		}
	}
	sig := unix.Signal(0)
	if status.Signaled() {
		sig = status.Signal()
	}
	u := w.Usage()
	if u != nil {
		o.OOMKills, o.MemoryPeak, o.TasksPeak, o.CPUTime = u.OOMKills, u.MemoryPeak, u.TasksPeak, u.CPUTime
		met(LimitMemory, u.OOMKills > 0)
		met(LimitTasks, u.TasksRefused > 0)
	}
	met(LimitCPU, w.limit == LimitCPU || sig == unix.SIGXCPU)
	met(LimitRuntime, w.limit == LimitRuntime)
	met(LimitFileSize, sig == unix.SIGXFSZ)
	// A child may have been killed for a call, or the worker by SIGKILL because it has
	// caught SIGSYS.
	met(LimitDenied, sig == unix.SIGSYS || w.remains.Denied.Killed)
	o.Denied = w.remains.Denied.Calls
	return o
}

package workers

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/stderr"
)

// A WorkerState is a Worker in the state that a master hands to the next one.
type WorkerState struct {
	PID        int                      `json:"pid"`
	Spec       int                      `json:"spec"`
	Version    string                   `json:"version"` // of the master that has started it
	Created    carry.Moment             `json:"created"`
	Watched    bool                     `json:"watched,omitempty"`
	Command    CommandState             `json:"command"`
	Control    carry.FD                 `json:"control"`
	Cell       json.RawMessage          `json:"cell,omitempty"` // as package box has it
	Stderr     *StderrState             `json:"stderr,omitempty"`
	State      string                   `json:"state"`
	Since      carry.Moment             `json:"since"`
	Connection *service.ConnectionState `json:"connection,omitempty"`
	Served     int                      `json:"served"`
	HoldsCopy  bool                     `json:"holds_copy,omitempty"`
	HungUpAt   carry.Moment             `json:"hung_up_at,omitempty"`
	Socket     uint64                   `json:"socket,omitempty"`

	Report         *ReportState  `json:"report,omitempty"`
	Failure        *FailureState `json:"failure,omitempty"`
	Violation      string        `json:"violation,omitempty"`
	BoxError       string        `json:"box_error,omitempty"`
	Killed         bool          `json:"killed,omitempty"`
	TermSentAt     carry.Moment  `json:"term_sent_at,omitempty"`
	NextIdleCheck  carry.Moment  `json:"next_idle_check,omitempty"`
	ClientGoneAt   carry.Moment  `json:"client_gone_at,omitempty"`
	EndedForHangUp bool          `json:"ended_for_hang_up,omitempty"`
	Leftovers      []int         `json:"leftovers,omitempty"`
	Remains        *RemainsState `json:"remains,omitempty"`
	Limit          string        `json:"limit,omitempty"`
	CPUBefore      time.Duration `json:"cpu_before,omitempty"` // ns
	StoppedBy      int           `json:"stopped_by,omitempty"`
}

// A CommandState is what is asked of a worker's command after the start.
type CommandState struct {
	Path    string `json:"path"`
	Program string `json:"program,omitempty"`
	Handler bool   `json:"handler,omitempty"`
	Control bool   `json:"control,omitempty"`
	Boxed   bool   `json:"boxed,omitempty"`
}

// A StderrState is a StderrReader.
type StderrState struct {
	FD         carry.FD               `json:"fd"`
	Connection string                 `json:"connection,omitempty"`
	Line       stderr.LinesState      `json:"line"`
	Tail       []stderr.TailLineState `json:"tail,omitempty"`
}

// A ReportState is an ipc.Report. A worker may have put any bytes into its strings.
type ReportState struct {
	BytesIn  uint64             `json:"bytes_in"`
	BytesOut uint64             `json:"bytes_out"`
	Reason   []byte             `json:"reason,omitempty"`
	Values   []ReportValueState `json:"values,omitempty"`
}

// A ReportValueState is one of its values.
type ReportValueState struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// A FailureState is an ipc.Failure.
type FailureState struct {
	Step  uint8  `json:"step"`
	Errno uint16 `json:"errno"`
}

// A RemainsState is process.Remains.
type RemainsState struct {
	Leftovers int         `json:"leftovers,omitempty"`
	Usage     *UsageState `json:"usage,omitempty"`
	Denied    []string    `json:"denied,omitempty"`
	Killed    bool        `json:"killed,omitempty"`
}

// A UsageState is a process.CellUsage.
type UsageState struct {
	OOMKills     uint64        `json:"oom_kills,omitempty"`
	TasksRefused uint64        `json:"tasks_refused,omitempty"`
	CPUThrottled uint64        `json:"cpu_throttled,omitempty"`
	CPUTime      time.Duration `json:"cpu_time,omitempty"`    // ns
	MemoryPeak   uint64        `json:"memory_peak,omitempty"` // bytes
	TasksPeak    int           `json:"tasks_peak,omitempty"`
}

// An exporter makes the states of workers.
type exporter struct {
	cells CellCarrier
	d     *carry.Descriptors
	specs *service.SpecRecorder
}

// worker returns the state of a worker. had says what of it there is still.
func (x *exporter) worker(w *Worker, had extent) (s WorkerState, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s = WorkerState{
		PID: w.child.Pid, Spec: x.specs.Number(w.pool.spec), Version: w.version, Created: carry.At(w.created), Watched: w.watched,
		Command: CommandState{w.command.Path, w.command.Program, w.command.Handler, w.command.Control, w.command.Box != nil},
		State:   w.state.String(), Since: carry.At(w.since), Served: w.served, HoldsCopy: w.holdsCopy, HungUpAt: carry.At(w.hungUpAt), Socket: w.socket,
		Killed: w.killed, TermSentAt: carry.At(w.termSentAt), NextIdleCheck: carry.At(w.nextIdleCheck), ClientGoneAt: carry.At(w.clientGoneAt),
		EndedForHangUp: w.endedForHangUp, Leftovers: slices.Sorted(maps.Keys(w.leftovers)), Remains: exportRemains(&w.remains),
		Limit: w.limit, CPUBefore: w.cpuBefore, StoppedBy: int(w.stoppedBy), Violation: errorText(w.violation), BoxError: errorText(w.boxError),
		Control: carry.None,
	}
	switch fd, near := w.channel.descriptor(); {
	case near:
		s.Control = x.d.Keep(fd)
	case fd > 0:
		return s, fmt.Errorf("worker %d: its control channel is parked", s.PID)
	}
	if w.conn != nil {
		c := w.conn.Export(x.d, x.specs)
		s.Connection = &c
	}
	if r := w.report; r != nil {
		s.Report = &ReportState{BytesIn: r.BytesIn, BytesOut: r.BytesOut, Reason: []byte(r.Reason)}
		for _, v := range r.Values {
			s.Report.Values = append(s.Report.Values, ReportValueState{v.Key, []byte(v.Value)})
		}
	}
	if f := w.failure; f != nil {
		s.Failure = &FailureState{uint8(f.Step), uint16(f.Errno)}
	}
	if w.stderr != nil && had != told {
		if s.Stderr, err = w.stderr.export(x.d); err != nil {
			return s, fmt.Errorf("the stderr of worker %d: %w", s.PID, err)
		}
	}
	if cell := w.child.Cell; cell != nil && had != withoutCell {
		if x.cells == nil {
			return s, fmt.Errorf("worker %d is in a box, and nobody knows its cell", s.PID)
		}
		if s.Cell, err = x.cells.ExportCell(cell, x.d); err != nil {
			return s, fmt.Errorf("the cell of worker %d: %w", s.PID, err)
		}
	}
	return s, nil
}

// An extent is what there is still of a worker.
type extent int

const (
	whole       extent = iota
	told               // the Sink knows of its end: it has no connection, channel and stderr
	withoutCell        // its cell is empty
)

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// exportRemains returns nil for what is nothing.
func exportRemains(r *process.Remains) *RemainsState {
	if r.Leftovers == 0 && r.Usage == nil && len(r.Denied.Calls) == 0 && !r.Denied.Killed {
		return nil
	}
	return &RemainsState{r.Leftovers, (*UsageState)(r.Usage), r.Denied.Calls, r.Denied.Killed}
}

// export returns the state of a reader that is paused.
func (r *StderrReader) export(d *carry.Descriptors) (*StderrState, error) {
	s := &StderrState{Line: r.lines.Export(), Tail: r.tail.Export()}
	if conn := r.conn.Load(); conn != nil {
		s.Connection = *conn
	}
	raw, err := r.file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { s.FD = d.Keep(int(fd)) })
	}
	return s, err
}

package workers

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/linger"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
)

// Not carried:
//
//   - the poller, and which channels the kernel does not watch: all are watched anew, and
//     what is to be read is told again;
//   - which descriptors are parked: they are taken back before, and parked when there are
//     many, as ever;
//   - questions under way (hang-ups, early closes) and when they are due: they are asked
//     again. Whose clients had gone is known by the workers;
//   - when the reaper scans, and who was registered last: that saves time only;
//   - stopped children that are not registered: no worker is being started;
//   - pools without their workers: package dispatch has those in force;
//   - handles of processes (process.Child): a worker that is registered has none;
//   - what a process was started with that nobody asks for later (process.Command).

// A SetState is a Set in the state that a master hands to the next one.
type SetState struct {
	Workers    []WorkerState      `json:"workers,omitempty"`     // by pid
	Leaving    []LeavingState     `json:"leaving,omitempty"`     // ended, and something may be left
	InCells    []CellLeavingState `json:"in_cells,omitempty"`    // ended, and something is left in the cell
	EarlyExits []ExitState        `json:"early_exits,omitempty"` // of children that are no workers
	Sessions   []byte             `json:"sessions,omitempty"`    // a bit for each number that a worker had, the lowest first
	Orphans    []OrphanState      `json:"orphans,omitempty"`     // by pid
	Unclear    []UnclearState     `json:"unclear,omitempty"`     // by pid
	Started    uint64             `json:"started"`               // workers that were ever registered
	Linger     linger.State       `json:"linger"`
}

// A LeavingState is a worker that was reaped and of which something may be left.
type LeavingState struct {
	Worker     WorkerState  `json:"worker"`
	Exit       ExitState    `json:"exit"`
	Connection string       `json:"connection,omitempty"` // the id of the one that it served
	TermAt     carry.Moment `json:"term_at"`
	Killed     bool         `json:"killed,omitempty"`
	Seen       []int        `json:"seen,omitempty"`
	Told       bool         `json:"told,omitempty"`
	GroupHad   bool         `json:"group_had,omitempty"`
	GroupGone  bool         `json:"group_gone,omitempty"`
}

// A CellLeavingState is a worker that was reaped and whose cell is not empty, or was not
// asked for since.
type CellLeavingState struct {
	Worker  WorkerState   `json:"worker"`
	Exit    ExitState     `json:"exit"`
	Empty   bool          `json:"empty,omitempty"`   // the cell is empty by now
	Remains *RemainsState `json:"remains,omitempty"` // of the cell then
}

// An ExitState is a process.Exit, as far as anybody asks for it.
type ExitState struct {
	PID      int           `json:"pid"`
	Status   uint32        `json:"status"`
	UserTime time.Duration `json:"user_time"` // ns
	SysTime  time.Duration `json:"sys_time"`  // ns
	MaxRSS   int64         `json:"max_rss"`   // KiB
}

// An OrphanState is what is known of an orphan.
type OrphanState struct {
	PID        int          `json:"pid"`
	Session    int          `json:"session"`
	Connection string       `json:"connection,omitempty"` // the id in its environment
	Hidden     bool         `json:"hidden,omitempty"`
	Since      carry.Moment `json:"since"`
}

// An UnclearState is an orphan that does not show what it is.
type UnclearState struct {
	PID   int          `json:"pid"`
	Since carry.Moment `json:"since"`
}

// RestoreOptions are what Restore needs beside the state.
type RestoreOptions struct {
	// Version is this master's. Spares, and workers that are reused, of another one go
	// when they have no connection any more.
	Version string
	// Pool returns the pool of a Spec, a closed one if it is not in force
	// (dispatch.Dispatcher.Pool).
	Pool func(*service.Spec) *Pool
	// Redact is what the log tells of the clients.
	Redact *redact.Policy
}

// A CellCarrier exports and restores cells of boxes. Both also happen to a cell whose
// Leave was called and has reported false: Leave is called again then, for the new done.
type CellCarrier interface {
	ExportCell(c process.Cell, d *carry.Descriptors) (json.RawMessage, error)
	RestoreCell(state json.RawMessage, d *carry.Descriptors) (process.Cell, error)
}

// UseCells tells the set who knows the cells of boxes. Without it a worker with a cell
// can neither be exported nor restored.
func (s *Set) UseCells(c CellCarrier) { s.cellCarrier = c }

// restored is what Resume has to do after Restore.
type restored struct {
	pools   []*Pool         // that are closed and may have spares
	readers []*StderrReader // that are to run
	watch   []*Worker       // whose channels are to be watched
	cells   []*Worker       // that left their cells before
}

// Export returns the state of a set that is paused.
func (s *Set) Export(d *carry.Descriptors, specs *service.SpecRecorder) (*SetState, error) {
	x := exporter{s.cellCarrier, d, specs}
	state := &SetState{Sessions: s.led.export(), Started: s.started, Linger: s.linger.Export(d)}
	for _, pid := range slices.Sorted(maps.Keys(s.table.workers)) {
		w, err := x.worker(s.table.workers[pid], whole)
		if err != nil {
			return nil, err
		}
		state.Workers = append(state.Workers, w)
	}
	for _, v := range s.leftovers.leaving {
		had := whole
		if v.told {
			had = told
		}
		w, err := x.worker(v.worker, had)
		if err != nil {
			return nil, err
		}
		state.Leaving = append(state.Leaving, LeavingState{
			Worker: w, Exit: exportExit(&v.exit), Connection: v.id, TermAt: carry.At(v.termAt), Killed: v.killed,
			Seen: slices.Sorted(maps.Keys(v.seen)), Told: v.told, GroupHad: v.groupHad, GroupGone: v.groupGone,
		})
	}
	over := s.cells.empty()
	for w, exit := range s.cells.leaving {
		c, had := CellLeavingState{Exit: exportExit(&exit)}, whole
		if remains, empty := over[w]; empty {
			c.Empty, c.Remains, had = true, exportRemains(&remains), withoutCell
		}
		var err error
		if c.Worker, err = x.worker(w, had); err != nil {
			return nil, err
		}
		state.InCells = append(state.InCells, c)
	}
	slices.SortFunc(state.InCells, func(a, b CellLeavingState) int { return cmp.Compare(a.Worker.PID, b.Worker.PID) })
	for i := range s.table.earlyExits {
		state.EarlyExits = append(state.EarlyExits, exportExit(&s.table.earlyExits[i]))
	}
	for _, pid := range slices.Sorted(maps.Keys(s.leftovers.known)) {
		o := s.leftovers.known[pid]
		state.Orphans = append(state.Orphans, OrphanState{pid, o.session, o.id, o.hidden, carry.At(o.since)})
	}
	for _, pid := range slices.Sorted(maps.Keys(s.leftovers.unclear)) {
		state.Unclear = append(state.Unclear, UnclearState{pid, carry.At(s.leftovers.unclear[pid])})
	}
	return state, nil
}

// Restore gives a new set the workers of a state. The set is paused from then on: until
// Resume, which begins to read and to watch, Restore does nothing to their descriptors.
// It is called before Poll and the Run of Linger. On error the set is of no more use.
func (s *Set) Restore(state *SetState, d *carry.Descriptors, specs *service.RestoredSpecs, o RestoreOptions) error {
	r := importer{set: s, d: d, specs: specs, o: o, open: map[*service.Spec]*Pool{}, closed: map[*service.Spec]*Pool{}}
	if err := s.linger.Restore(&state.Linger, d); err != nil {
		return err
	}
	if err := s.led.restore(state.Sessions); err != nil {
		return err
	}
	s.started = state.Started
	for i := range state.Workers {
		if err := r.live(&state.Workers[i]); err != nil {
			return fmt.Errorf("worker %d: %w", state.Workers[i].PID, err)
		}
	}
	for i := range state.Leaving {
		if err := r.leaving(&state.Leaving[i]); err != nil {
			return fmt.Errorf("worker %d that has ended: %w", state.Leaving[i].Worker.PID, err)
		}
	}
	for i := range state.InCells {
		if err := r.inCell(&state.InCells[i]); err != nil {
			return fmt.Errorf("worker %d that has ended: %w", state.InCells[i].Worker.PID, err)
		}
	}
	for i := range state.EarlyExits {
		exit, err := restoreExit(&state.EarlyExits[i])
		if err != nil {
			return err
		}
		s.table.earlyExits = append(s.table.earlyExits, exit)
	}
	for i := range state.Orphans {
		o := &state.Orphans[i]
		s.leftovers.known[o.PID] = orphan{o.Session, o.Connection, o.Hidden, o.Since.Time()}
	}
	for i := range state.Unclear {
		s.leftovers.unclear[state.Unclear[i].PID] = state.Unclear[i].Since.Time()
	}
	r.finish()
	return nil
}

// leaving restores a worker of which something may be left.
func (r *importer) leaving(state *LeavingState) error {
	if r.set.leftovers.children == nil {
		return errors.New("there is no list of orphans")
	}
	has := whole
	if state.Told {
		has = told
	}
	w, err := r.worker(&state.Worker, has)
	if err != nil {
		return err
	}
	w.reaped = true
	v := &leaving{worker: w, id: state.Connection, termAt: state.TermAt.Time(), killed: state.Killed, seen: map[int]bool{},
		told: state.Told, groupHad: state.GroupHad, groupGone: state.GroupGone}
	if v.exit, err = restoreExitOf(w, &state.Exit); err != nil {
		return err
	}
	for _, pid := range state.Seen {
		v.seen[pid] = true
	}
	r.set.leftovers.leaving = append(r.set.leftovers.leaving, v)
	return nil
}

// inCell restores a worker whose cell was not empty.
func (r *importer) inCell(state *CellLeavingState) error {
	w, err := r.worker(&state.Worker, whole)
	if err != nil {
		return err
	}
	w.reaped = true
	exit, err := restoreExitOf(w, &state.Exit)
	if err != nil {
		return err
	}
	s := r.set
	s.cells.leaving[w] = exit
	switch {
	case state.Empty:
		s.cells.note(w, state.Remains.remains())
	case w.child.Cell == nil:
		return errors.New("it has left no cell")
	default:
		s.restored.cells = append(s.restored.cells, w)
	}
	return nil
}

func exportExit(e *process.Exit) ExitState {
	return ExitState{e.Pid, uint32(e.Status), time.Duration(e.Usage.Utime.Nano()), time.Duration(e.Usage.Stime.Nano()), e.Usage.Maxrss}
}

func restoreExit(s *ExitState) (process.Exit, error) {
	if err := checkPID(s.PID); err != nil {
		return process.Exit{}, err
	}
	if s.UserTime < 0 || s.SysTime < 0 || s.MaxRSS < 0 {
		return process.Exit{}, fmt.Errorf("child %d has used less than nothing", s.PID)
	}
	return process.Exit{Pid: s.PID, Status: unix.WaitStatus(s.Status), Usage: unix.Rusage{
		Utime: unix.NsecToTimeval(int64(s.UserTime)), Stime: unix.NsecToTimeval(int64(s.SysTime)), Maxrss: s.MaxRSS,
	}}, nil
}

// restoreExitOf is restoreExit for the exit of a worker.
func restoreExitOf(w *Worker, s *ExitState) (process.Exit, error) {
	if s.PID != w.PID() {
		return process.Exit{}, fmt.Errorf("its exit is that of %d", s.PID)
	}
	return restoreExit(s)
}

// maxPID is greater than any pid (PID_MAX_LIMIT is 4,194,304).
const maxPID = 1 << 23

// checkPID returns an error for what cannot be the pid of a child. A signal to -1 would
// be one to everybody.
func checkPID(pid int) error {
	if pid < 2 || pid >= maxPID {
		return fmt.Errorf("%d is no child's pid", pid)
	}
	return nil
}

// export returns the bits, the lowest first, without zeros at the end.
func (s *sessions) export() (bits []byte) {
	for _, word := range s.bits {
		bits = binary.LittleEndian.AppendUint64(bits, word)
	}
	return bytes.TrimRight(bits, "\x00")
}

func (s *sessions) restore(bits []byte) error {
	if len(bits) > maxPID/8 {
		return fmt.Errorf("sessions of numbers beyond %d", maxPID)
	}
	bits = append(slices.Clone(bits), make([]byte, 7)...)
	for ; len(bits) >= 8; bits = bits[8:] {
		s.bits = append(s.bits, binary.LittleEndian.Uint64(bits))
	}
	return nil
}

package workers

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/epoll"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/stderr"
)

// An importer restores the workers of a state.
type importer struct {
	set          *Set
	d            *carry.Descriptors
	specs        *service.RestoredSpecs
	o            RestoreOptions
	open, closed map[*service.Spec]*Pool
	workers      []*Worker // that live
	idle         []*Worker // of all pools
}

// live restores a worker that was not reaped.
func (r *importer) live(s *WorkerState) error {
	if r.set.table.has(s.PID) {
		return errors.New("there are two of them")
	}
	w, err := r.worker(s, whole)
	if err != nil {
		return err
	}
	r.set.table.workers[s.PID] = w
	r.workers = append(r.workers, w)
	if w.stoppedBy != 0 {
		r.set.stops.workers[s.PID] = w
	}
	if !w.clientGoneAt.IsZero() {
		r.set.hangUps.gone = append(r.set.hangUps.gone, w)
	}
	if w.watched && w.violation == nil {
		r.set.restored.watch = append(r.set.restored.watch, w)
	}
	return nil
}

// worker restores a worker. It puts it into its pool unless its end was told.
func (r *importer) worker(s *WorkerState, has extent) (*Worker, error) {
	if err := checkPID(s.PID); err != nil {
		return nil, err
	}
	if s.Served < 0 {
		return nil, fmt.Errorf("it was given %d connections", s.Served)
	}
	spec, err := r.specs.Spec(s.Spec)
	if err != nil {
		return nil, err
	}
	state, err := stateOf(s.State)
	if err != nil {
		return nil, err
	}
	if err := checkConnection(state, s.Connection != nil, has); err != nil {
		return nil, err
	}
	w := &Worker{
		created: s.Created.Time(), watched: s.Watched, version: s.Version, child: &process.Child{Pid: s.PID, Control: -1},
		command:   &process.Command{Path: s.Command.Path, Program: s.Command.Program, Handler: s.Command.Handler, Control: s.Command.Control},
		violation: textError(s.Violation), killed: s.Killed, termSentAt: s.TermSentAt.Time(), nextIdleCheck: s.NextIdleCheck.Time(),
		clientGoneAt: s.ClientGoneAt.Time(), endedForHangUp: s.EndedForHangUp, remains: s.Remains.remains(), limit: s.Limit,
		cpuBefore: s.CPUBefore, boxError: textError(s.BoxError), stoppedBy: unix.Signal(s.StoppedBy), socket: s.Socket,
		state: state, since: s.Since.Time(), served: s.Served, hungUpAt: s.HungUpAt.Time(),
	}
	w.pool = r.poolOf(w, spec)
	if s.Command.Boxed {
		w.command.Box = spec.ProcessBox()
	}
	for _, pid := range s.Leftovers {
		if w.leftovers == nil {
			w.leftovers = map[int]bool{}
		}
		w.leftovers[pid] = true
	}
	if err := w.restoreSaid(s); err != nil {
		return nil, err
	}
	if err := r.descriptors(w, s); err != nil {
		return nil, err
	}
	if has != told {
		r.join(w)
	}
	return w, nil
}

// checkConnection returns an error for a worker that has a connection where it can have
// none, or the other way round.
func checkConnection(state State, connection bool, has extent) error {
	var wrong bool
	switch {
	case has == told, state == Starting, state == Idle:
		wrong = connection
	case state == Assigned, state == Serving:
		wrong = !connection
	}
	if wrong {
		return fmt.Errorf("it is %v, and has a connection: %t", state, connection)
	}
	return nil
}

// restoreSaid restores what the worker has said.
func (w *Worker) restoreSaid(s *WorkerState) error {
	if r := s.Report; r != nil {
		w.report = &ipc.Report{BytesIn: r.BytesIn, BytesOut: r.BytesOut, Reason: ipc.Reason(r.Reason)}
		for _, v := range r.Values {
			w.report.Values = append(w.report.Values, ipc.Pair{Key: v.Key, Value: string(v.Value)})
		}
		if _, err := w.report.Append(nil); err != nil { // it has bounds
			return err
		}
	}
	if f := s.Failure; f != nil {
		w.failure = &ipc.Failure{Step: ipc.FailureStep(f.Step), Errno: unix.Errno(f.Errno)}
	}
	return nil
}

// descriptors restores what of the worker has descriptors.
func (r *importer) descriptors(w *Worker, s *WorkerState) error {
	fd, err := r.d.Take(s.Control)
	if err != nil {
		return fmt.Errorf("control channel: %w", err)
	}
	w.channel.open(fd)
	if s.Connection != nil {
		if w.conn, err = service.RestoreConnection(s.Connection, r.d, r.specs, r.o.Redact); err != nil {
			return fmt.Errorf("connection %q: %w", s.Connection.ID, err)
		}
	}
	if w.holdsCopy = s.HoldsCopy; w.holdsCopy && (w.conn == nil || w.conn.File == nil) || w.state == Assigned && !w.holdsCopy {
		return errors.New("the copy of its connection is missing")
	}
	if s.Stderr != nil {
		if w.stderr, err = restoreStderr(s.Stderr, r.d, w); err != nil {
			return fmt.Errorf("stderr: %w", err)
		}
		r.set.restored.readers = append(r.set.restored.readers, w.stderr)
	}
	if s.Cell != nil {
		if r.set.cellCarrier == nil {
			return errors.New("it is in a box, and nobody knows its cell")
		}
		if w.child.Cell, err = r.set.cellCarrier.RestoreCell(s.Cell, r.d); err != nil {
			return fmt.Errorf("cell: %w", err)
		}
	}
	return nil
}

// poolOf returns the pool for a worker. Those that could get one more connection go, if
// another version of the master has started them.
func (r *importer) poolOf(w *Worker, spec *service.Spec) *Pool {
	pools, make := r.open, r.o.Pool
	if w.watched && w.version != r.o.Version {
		pools, make = r.closed, func(spec *service.Spec) *Pool {
			p := NewPool(spec)
			p.closed = true
			return p
		}
	}
	if pools[spec] == nil {
		pools[spec] = make(spec)
	}
	return pools[spec]
}

// join has the pool know a worker as it did before.
func (r *importer) join(w *Worker) {
	switch {
	case w.state == Idle:
		r.idle = append(r.idle, w)
	case w.state == Starting:
		w.pool.starting++
	case (w.state == Retiring || w.state == Broken) && w.conn == nil:
		w.pool.noteLeaving(w)
	}
}

// finish restores what depends on the order of the workers.
func (r *importer) finish() {
	slices.SortStableFunc(r.workers, func(a, b *Worker) int { return a.created.Compare(b.created) })
	for _, w := range r.workers {
		r.set.reaper.registered(w.child.Pid)
	}
	slices.SortStableFunc(r.idle, func(a, b *Worker) int { return a.since.Compare(b.since) })
	for _, w := range r.idle {
		w.pool.idle = append(w.pool.idle, w)
	}
	for _, pools := range []map[*service.Spec]*Pool{r.open, r.closed} {
		for _, p := range pools {
			if p.closed {
				r.set.restored.pools = append(r.set.restored.pools, p)
			}
		}
	}
}

func stateOf(name string) (State, error) {
	for state := Starting; state <= Broken; state++ {
		if state.String() == name {
			return state, nil
		}
	}
	return 0, fmt.Errorf("it is %q, which no worker is", name)
}

func textError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// remains is what exportRemains was given.
func (s *RemainsState) remains() process.Remains {
	if s == nil {
		return process.Remains{}
	}
	return process.Remains{Leftovers: s.Leftovers, Usage: (*process.CellUsage)(s.Usage), Denied: process.Denied{Calls: s.Denied, Killed: s.Killed}}
}

// restoreStderr returns the reader of a state. It is to be run.
func restoreStderr(s *StderrState, d *carry.Descriptors, w *Worker) (*StderrReader, error) {
	file, err := d.File(s.FD, "stderr of a worker")
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, errors.New("a pipe without a descriptor")
	}
	if err := epoll.CheckPolled(file); err != nil {
		return nil, err
	}
	r := newReader(file, w.Owner().Log)
	r.pid.Store(int64(w.child.Pid))
	if s.Connection != "" {
		r.Serves(s.Connection)
	}
	r.tail = stderr.RestoreTail(s.Tail)
	return r, r.lines.Restore(&s.Line)
}

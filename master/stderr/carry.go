package stderr

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync/atomic"

	"github.com/preforkd/preforkd/master/carry"
)

// Not carried: the master's own stderr, which the next program has as fd 2, and whose
// lines have not ended since they were looked at, which is whose lines have not ended.

// A LinesState is what has come of a line.
type LinesState struct {
	Line []byte `json:"line,omitempty"`
	Cut  bool   `json:"cut,omitempty"`
}

// Export returns the state of the Lines.
func (l *Lines) Export() LinesState { return LinesState{slices.Clone(l.line), l.cut} }

// Restore gives new Lines what has come of a line.
func (l *Lines) Restore(s *LinesState) error {
	if len(s.Line) > MaxLine {
		return fmt.Errorf("%d bytes of a line, at most %d", len(s.Line), MaxLine)
	}
	l.line, l.cut = append(l.line[:0], s.Line...), s.Cut && len(s.Line) == MaxLine
	return nil
}

// A TailLineState is one of the last lines.
type TailLineState struct {
	Text []byte       `json:"text"`
	At   carry.Moment `json:"at"`
}

// Export returns the lines, the oldest first.
func (t *Tail) Export() (lines []TailLineState) {
	for _, line := range t.lines {
		lines = append(lines, TailLineState{[]byte(line.text), carry.At(line.at)})
	}
	return lines
}

// RestoreTail returns the Tail of some lines.
func RestoreTail(lines []TailLineState) (t Tail) {
	for i := range lines {
		t.Add(lines[i].Text, lines[i].At.Time())
	}
	return t
}

// An OutputsState is the state of Outputs.
type OutputsState struct {
	Inherit *RelayState `json:"inherit,omitempty"`
	Discard *RelayState `json:"discard,omitempty"`
}

// A RelayState is the state of a Relay.
type RelayState struct {
	End     carry.FD      `json:"end"`  // the master's
	File    carry.FD      `json:"file"` // the workers' end
	Writers []WriterState `json:"writers,omitempty"`
}

// A WriterState is what a worker has written.
type WriterState struct {
	Leader int             `json:"leader"` // its pid, -1 for one of another pid namespace
	Line   LinesState      `json:"line"`
	Tail   []TailLineState `json:"tail,omitempty"`
	Last   carry.Moment    `json:"last"`
}

// Pause has nothing read, until Resume. Nobody may call Take, Flush or Close meanwhile,
// and nobody may open a Relay.
func (o *Outputs) Pause() {
	for _, r := range o.relays() {
		if r != nil {
			r.reading.Lock()
			o.paused = append(o.paused, r)
		}
	}
}

// Resume ends Pause, and begins to read what Restore has restored.
func (o *Outputs) Resume() {
	for _, r := range o.paused {
		r.reading.Unlock()
	}
	for _, r := range o.restored {
		go r.run()
	}
	o.paused, o.restored = nil, nil
}

// Export returns the state of Outputs that are paused.
func (o *Outputs) Export(d *carry.Descriptors) (s OutputsState, err error) {
	if s.Inherit, err = o.inherit.Load().export(d); err != nil {
		return s, err
	}
	s.Discard, err = o.discard.Load().export(d)
	return s, err
}

// Restore gives new Outputs the relays of a state. Nothing is read before Resume. Restore
// is called before anybody asks for Inherit or Discard. On error the Outputs are of no
// more use.
func (o *Outputs) Restore(s *OutputsState, d *carry.Descriptors) error {
	for _, one := range []struct {
		state   *RelayState
		to      *atomic.Pointer[Relay]
		forward func([]byte)
	}{{s.Inherit, &o.inherit, o.forward}, {s.Discard, &o.discard, nil}} {
		if one.state == nil {
			continue
		}
		r, err := restoreRelay(one.state, d, one.forward, o.leaderOf, o.reopened)
		if err != nil {
			return fmt.Errorf("the stderr of workers: %w", err)
		}
		one.to.Store(r)
		o.restored = append(o.restored, r)
	}
	return nil
}

// export returns the state of a Relay that is paused, nil for a nil one.
func (r *Relay) export(d *carry.Descriptors) (*RelayState, error) {
	if r == nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &RelayState{}
	for _, one := range []struct {
		file *os.File
		to   *carry.FD
	}{{r.end, &s.End}, {r.file, &s.File}} {
		raw, err := one.file.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { *one.to = d.Keep(int(fd)) })
		}
		if err != nil {
			return nil, fmt.Errorf("the stderr of workers: %w", err)
		}
	}
	for _, leader := range slices.Sorted(maps.Keys(r.byLeader)) {
		w := r.byLeader[leader]
		s.Writers = append(s.Writers, WriterState{leader, w.lines.Export(), w.tail.Export(), carry.At(w.last)})
	}
	return s, nil
}

// restoreRelay makes a Relay of a state, for which run was not started.
func restoreRelay(s *RelayState, d *carry.Descriptors, forward func([]byte), leaderOf func(int) int, reopened func(error)) (*Relay, error) {
	if len(s.Writers) > maxWriters {
		return nil, fmt.Errorf("%d writers, at most %d", len(s.Writers), maxWriters)
	}
	end, err := d.File(s.End, "stderr of workers")
	if err != nil {
		return nil, err
	}
	file, err := d.File(s.File, "stderr of workers")
	if err != nil {
		return nil, err
	}
	if end == nil || file == nil {
		return nil, errors.New("a socket without a descriptor")
	}
	r := newRelay(end, file, forward, leaderOf, reopened)
	for i := range s.Writers {
		if err := r.restoreWriter(&s.Writers[i]); err != nil {
			return nil, err
		}
	}
	r.writers.Store(int64(len(r.byLeader)))
	return r, nil
}

func (r *Relay) restoreWriter(s *WriterState) error {
	if s.Leader == 0 || s.Leader < -1 {
		return fmt.Errorf("a writer with the pid %d", s.Leader)
	}
	if r.byLeader[s.Leader] != nil {
		return fmt.Errorf("two writers with the pid %d", s.Leader)
	}
	w := &writer{lines: Lines{Wrap: true}, tail: RestoreTail(s.Tail), last: s.Last.Time()}
	if err := w.lines.Restore(&s.Line); err != nil {
		return err
	}
	if w.unended = w.lines.Pending(); w.unended {
		r.unended = append(r.unended, s.Leader)
	}
	r.byLeader[s.Leader] = w
	return nil
}

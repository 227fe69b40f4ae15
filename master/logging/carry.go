package logging

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"
)

// What of a Logger does not go over to the program that takes over:
//
//   - the descriptor of the output, which that program opens anew: it is stderr
//   - whether the journal has read the last entry, which the next entry finds out again

// A State is a Logger in the state that a master hands to the next one.
type State struct {
	Level  string      `json:"level"`
	Format Format      `json:"format"` // not FormatAuto
	Events QueueState  `json:"events"`
	Raw    *QueueState `json:"raw,omitempty"` // of Raw, if that does not write where the events go
}

// A QueueState is a queue in a State.
type QueueState struct {
	// Partial is the rest of a line of which the file has only the start. Then come lines
	// that the file has refused and of which no line tells yet, those that are not written
	// yet, and those for which there was no room.
	Partial []byte `json:"partial,omitempty"`
	Refused int64  `json:"refused,omitempty"`
	Pending []byte `json:"pending,omitempty"`
	Dropped int64  `json:"dropped,omitempty"`
	// Lost is how many lines were lost so far, and LostAt when the last one was, in
	// nanoseconds since 1970, or 0.
	Lost   int64 `json:"lost,omitempty"`
	LostAt int64 `json:"lost_at,omitempty"`
}

// Pause has the queued lines be written, for at most timeout, and then nothing more until
// Resume or Close. Lines wait meanwhile as they do for a slow reader. If the reader of the
// log is so slow that a write does not end, it is an error, and nothing is paused: nobody
// could say how much of the write is done.
func (l *Logger) Pause(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	if err := l.queue.pause(deadline); err != nil {
		return err
	}
	if l.raw == l.queue {
		return nil
	}
	if err := l.raw.pause(deadline); err != nil {
		l.queue.resume()
		return err
	}
	return nil
}

// Resume ends what Pause has begun.
func (l *Logger) Resume() {
	l.queue.resume()
	if l.raw != l.queue {
		l.raw.resume()
	}
}

// Export returns the state of a logger that is paused. A line that is logged afterwards is
// not in it.
func (l *Logger) Export() State {
	s := State{Level: l.Level.String(), Format: l.format, Events: l.queue.export()}
	if l.raw != l.queue {
		raw := l.raw.export()
		s.Raw = &raw
	}
	return s
}

// Restore makes a logger again, which is paused until Resume. Of the options only the
// output counts. The caller must call Close after the last event.
func Restore(options Options, s *State) (*Logger, error) {
	level, err := ParseLevel(s.Level)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Format != FormatConsole && s.Format != FormatJSON && s.Format != FormatJournal:
		return nil, fmt.Errorf("a log is of no format %q", s.Format)
	case (s.Raw != nil) != (s.Format == FormatJournal):
		return nil, fmt.Errorf("a log of format %s has another number of outputs", s.Format)
	}
	for _, q := range []*QueueState{&s.Events, s.Raw} {
		if q != nil {
			if err := q.check(); err != nil {
				return nil, fmt.Errorf("log: %w", err)
			}
		}
	}
	file := options.file()
	out, err := openOutput(file)
	if err != nil {
		return nil, err
	}
	l, err := open(s.Format, level, file, out)
	if err != nil {
		return nil, err
	}
	l.queue.restore(&s.Events)
	if s.Raw != nil {
		l.raw.restore(s.Raw)
	}
	return l, nil
}

// check returns an error for a state that no queue has.
func (s *QueueState) check() error {
	for _, lines := range [][]byte{s.Partial, s.Pending} {
		switch {
		case len(lines) > 2*queueLimit: // the last line of a run may come on top
			return fmt.Errorf("%d bytes wait, where %d may", len(lines), queueLimit)
		case len(lines) > 0 && !bytes.HasSuffix(lines, []byte{'\n'}):
			return errors.New("a line that waits has no end")
		}
	}
	for _, n := range []int64{s.Refused, s.Dropped, s.Lost, s.LostAt} {
		if n < 0 || n > math.MaxInt64/4 {
			return fmt.Errorf("%d lines cannot be missing", n)
		}
	}
	return nil
}

// pause has the goroutine write what is queued, and then nothing more.
func (q *queue) pause(deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for late := false; ; {
		q.mu.Lock()
		waiting := q.writing + len(q.pending)
		switch {
		case !q.busy && (late || waiting == 0 && q.dropped == 0):
			q.paused = true
			q.mu.Unlock()
			return nil
		case late:
			q.mu.Unlock()
			return fmt.Errorf("the reader of the log does not read: %d bytes are not written", waiting)
		}
		q.mu.Unlock()
		select {
		case <-q.written:
		case <-timer.C:
			late = true
		}
	}
}

func (q *queue) resume() {
	q.mu.Lock()
	q.paused = false
	q.mu.Unlock()
	q.wakeWriter()
}

// export returns the state of a queue that is paused.
func (q *queue) export() QueueState {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := QueueState{
		Partial: bytes.Clone(q.writer.partial), Refused: q.failed,
		Pending: bytes.Clone(q.pending), Dropped: q.dropped, Lost: q.lost,
	}
	if !q.lostAt.IsZero() {
		s.LostAt = q.lostAt.UnixNano()
	}
	return s
}

// restore gives a new queue a state, and pauses it. Nothing was added yet.
func (q *queue) restore(s *QueueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = true
	q.writer.partial, q.failed = bytes.Clone(s.Partial), s.Refused
	q.pending, q.dropped, q.lost = bytes.Clone(s.Pending), s.Dropped, s.Lost
	if s.LostAt != 0 {
		q.lostAt = time.Unix(0, s.LostAt)
	}
}

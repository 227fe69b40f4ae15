package logging

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// queueLimit bounds the bytes that wait to be written: some 3,000 lines.
const queueLimit = 1 << 20

// A queue stands between those who log and the file, so that
//
//  1. nobody who logs waits for the file: add copies a line and returns;
//  2. memory is bounded: beyond the limit lines are dropped, and a line in
//     their place says how many;
//  3. a log costs few system calls: one goroutine writes, and all that arrives
//     within a few milliseconds goes into one write;
//  4. a file that fails is no reason to stop: what it did not take is counted
//     as lost, and every later line is a new attempt.
type queue struct {
	out     io.WriteCloser
	encoder zapcore.Encoder // for the line that stands for lost ones; never added to
	limit   int

	wake    chan struct{} // capacity 1: there is something to do
	closing chan struct{} // closed when no line is to wait for others any more
	done    chan struct{} // closed when the goroutine is gone

	mu      sync.Mutex // guards what follows
	pending []byte     // whole lines, not yet taken by the goroutine
	writing int        // bytes that the goroutine took and is writing
	dropped int64      // lines that found no room, all of them after pending
	closed  bool
	lost    int64 // lines that will never be written, dropped or refused by the file
	lostAt  time.Time
}

// newQueue starts the goroutine. It owns out and closes it at the end.
func newQueue(out io.WriteCloser, encoder zapcore.Encoder, limit int) *queue {
	q := &queue{
		out:     out,
		encoder: encoder,
		limit:   limit,
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	go q.run()
	return q
}

// add queues a copy of one line, or drops it. The last line of a run, which
// says that the master stopped in order, is taken even where there is no room:
// there is only one.
func (q *queue) add(line []byte, last bool) {
	q.mu.Lock()
	switch {
	case q.closed:
	case last:
		if q.dropped > 0 {
			q.pending = append(q.pending, q.lostLine(q.dropped)...)
			q.dropped = 0
		}
		q.pending = append(q.pending, line...)
	// A line behind a dropped one is dropped as well, although it may fit: the
	// gap stays in one place, where a line can stand for it.
	case q.dropped > 0 || len(q.pending)+q.writing+len(line) > q.limit:
		q.dropped++
		q.lose(1)
	default:
		q.pending = append(q.pending, line...)
	}
	q.mu.Unlock()
	q.signal()
}

// lose counts lines that are lost. The lock is held.
func (q *queue) lose(lines int64) {
	if lines > 0 {
		q.lost += lines
		q.lostAt = time.Now()
	}
}

func (q *queue) lostSoFar() (lines int64, last time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost, q.lostAt
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close lets the goroutine write what is queued and waits for its end, but not
// longer than timeout. A goroutine that is stuck in a write stays behind with
// its descriptor.
func (q *queue) close(timeout time.Duration) error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	q.mu.Unlock()
	q.signal()

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-q.done:
		return nil
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Errorf("close the log: %d bytes not written within %v", q.writing+len(q.pending), timeout)
}

// run is the goroutine that writes.
func (q *queue) run() {
	defer close(q.done)
	defer q.out.Close()

	w := lineWriter{out: q.out}
	var failed int64 // lines that the file refused, all of them before pending
	var batch []byte
	for range q.wake {
		q.gather()
		q.mu.Lock()
		batch, q.pending = q.pending, batch[:0]
		q.writing = len(batch)
		dropped, closed := q.dropped, q.closed
		q.dropped = 0
		q.mu.Unlock()

		// Nothing is written behind a gap before the line that stands for it.
		var refused int64
		if failed > 0 && w.write(q.lostLine(failed)) > 0 {
			refused = countLines(batch)
			failed += refused + dropped
		} else {
			refused = w.write(batch)
			failed = refused
			if dropped > 0 && (failed > 0 || w.write(q.lostLine(dropped)) > 0) {
				failed += dropped
			}
		}

		q.mu.Lock()
		q.writing = 0
		q.lose(refused)
		q.mu.Unlock()
		if closed {
			return
		}
	}
}

// gatherFor is how long a line waits for others. Nobody who reads the log can
// tell; but a write for each line costs a master that has little to do between
// two connections as much as a third of what the connection costs it.
const gatherFor = 5 * time.Millisecond

// gather lets lines come together, unless these are the last.
func (q *queue) gather() {
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.closing:
	}
}

// lostLine says that n lines are missing.
func (q *queue) lostLine(n int64) []byte {
	line, err := q.encoder.EncodeEntry(
		zapcore.Entry{Level: zapcore.WarnLevel, Time: time.Now(), Message: eventLinesLost},
		[]zapcore.Field{zap.Int64(keyLines, n)})
	if err != nil {
		return nil
	}
	defer line.Free()
	return bytes.Clone(line.Bytes())
}

// A lineWriter writes whole lines to a file that may fail in the middle of
// one. What is left of a torn line goes first at the next attempt, so that the
// line after it does not end up on the same line.
type lineWriter struct {
	out  io.Writer
	torn []byte
}

// write writes lines and returns how many of them the file took nothing of.
func (w *lineWriter) write(lines []byte) (lost int64) {
	if len(w.torn) > 0 {
		n, err := w.out.Write(w.torn)
		w.torn = w.torn[n:]
		if err != nil {
			return countLines(lines)
		}
	}
	if len(lines) == 0 {
		return 0
	}
	n, err := w.out.Write(lines)
	if err == nil {
		return 0
	}
	rest := lines[n:]
	if n > 0 && lines[n-1] != '\n' {
		end := bytes.IndexByte(rest, '\n') + 1
		w.torn = bytes.Clone(rest[:end])
		rest = rest[end:]
	}
	return countLines(rest)
}

func countLines(b []byte) int64 { return int64(bytes.Count(b, []byte{'\n'})) }

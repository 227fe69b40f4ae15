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

// queueLimit is how many bytes may wait to be written. That is some 3,000
// lines.
const queueLimit = 1 << 20

// A queue holds lines until they are written to the file. It exists for these
// reasons:
//
//  1. No goroutine that logs waits for the file: add copies a line and returns.
//  2. Memory is limited. Beyond the limit lines are dropped, and a line in their place
//     says how many.
//  3. The log needs few system calls. One goroutine writes, and all lines of a few
//     milliseconds go into one write.
//  4. The master goes on if the file fails. Lines that could not be written count as
//     lost, and each later line is a new attempt.
type queue struct {
	out     io.WriteCloser
	encoder zapcore.Encoder // for the line that stands for lost ones; has no fields of its own
	limit   int

	wake    chan struct{} // has one value when there is something to do
	closing chan struct{} // closed when no line should wait for others any more
	done    chan struct{} // closed when the goroutine has ended
	written chan struct{} // has one value when the goroutine has written something

	// Of the goroutine, and of nobody else unless it stands still.
	writer lineWriter
	failed int64 // lines that the file has refused; all of them come before pending

	mu      sync.Mutex // guards what follows
	pending []byte     // whole lines that the goroutine has not taken
	busy    bool       // the goroutine is writing
	writing int        // bytes of pending that it is writing
	dropped int64      // lines for which there was no room; all of them come after pending
	paused  bool       // the goroutine takes nothing, unless the queue is closed
	closed  bool
	lost    int64 // lines that will never be written: dropped, or refused by the file
	lostAt  time.Time
}

// newQueue makes a queue and starts its goroutine. The queue owns out and
// closes it at the end.
func newQueue(out io.WriteCloser, encoder zapcore.Encoder, limit int) *queue {
	q := &queue{
		out:     out,
		encoder: encoder,
		limit:   limit,
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		written: make(chan struct{}, 1),
		writer:  lineWriter{out: out},
	}
	go q.run()
	return q
}

// add queues a copy of one line, or drops the line. It queues the last line of
// a run even without room. That line says that the master has stopped normally,
// and there is only one.
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
	// A line after a dropped one is also dropped, even if there is room for it.
	// So all dropped lines are in one place, and one line can stand for them.
	case q.dropped > 0 || len(q.pending)+q.writing+len(line) > q.limit:
		q.dropped++
		q.countLost(1)
	default:
		q.pending = append(q.pending, line...)
	}
	q.mu.Unlock()
	q.wakeWriter()
}

// countLost counts lines that are lost. The caller holds the lock.
func (q *queue) countLost(lines int64) {
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

// wakeWriter wakes the goroutine. It does not wait.
func (q *queue) wakeWriter() { signal(q.wake) }

// signal puts a value into a channel that has room for one, unless there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// close makes the goroutine write the queued lines and end. It waits for that
// for at most timeout. A goroutine that hangs in a write stays, with its
// descriptor.
func (q *queue) close(timeout time.Duration) error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	q.mu.Unlock()
	q.wakeWriter()

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

	w := &q.writer
	var batch []byte
	for range q.wake {
		q.waitForBatch()
		q.mu.Lock()
		if q.paused && !q.closed {
			q.mu.Unlock()
			continue // resume or close wakes it again
		}
		batch, q.pending = q.pending, batch[:0]
		q.busy, q.writing = true, len(batch)
		dropped, closed := q.dropped, q.closed
		q.dropped = 0
		q.mu.Unlock()

		// After lost lines, the line that stands for them must be written
		// first.
		var refused int64
		if q.failed > 0 && w.write(q.lostLine(q.failed)) > 0 {
			refused = countLines(batch)
			q.failed += refused + dropped
		} else {
			refused = w.write(batch)
			q.failed = refused
			if dropped > 0 && (q.failed > 0 || w.write(q.lostLine(dropped)) > 0) {
				q.failed += dropped
			}
		}

		q.mu.Lock()
		q.busy, q.writing = false, 0
		q.countLost(refused)
		q.mu.Unlock()
		signal(q.written)
		if closed {
			return
		}
	}
}

// batchDelay is how long a line waits for others. No reader of the log can
// notice it. A write for each line would cost the master up to a third of the
// cost of a connection.
const batchDelay = 5 * time.Millisecond

// waitForBatch waits until more lines have come. When the queue closes it
// returns at once.
func (q *queue) waitForBatch() {
	timer := time.NewTimer(batchDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.closing:
	}
}

// lostLine returns a line that says that n lines are missing.
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

// A lineWriter writes whole lines to a file that may fail in the middle of a
// line. The next write begins with the rest of that line. So the next line does
// not become a part of it.
type lineWriter struct {
	out     io.Writer
	partial []byte // the rest of a line of which the file has only the start
}

// write writes lines. It returns how many of them the file has nothing of.
func (w *lineWriter) write(lines []byte) (lost int64) {
	if len(w.partial) > 0 {
		n, err := w.out.Write(w.partial)
		w.partial = w.partial[n:]
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
		w.partial = bytes.Clone(rest[:end])
		rest = rest[end:]
	}
	return countLines(rest)
}

func countLines(b []byte) int64 { return int64(bytes.Count(b, []byte{'\n'})) }

package logging

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Logger logs and never blocks. The caller of New must call Close after the
// last event.
type Logger struct {
	*zap.Logger
	// Level is the lowest level that is written. It may be changed at any time.
	Level  zap.AtomicLevel
	format Format // not FormatAuto
	queue  *queue
	raw    *queue // for Raw; the same as queue, unless that writes to the journal
}

// New returns a Logger. It duplicates the descriptor of the output and starts a
// goroutine that writes to it. Close ends both.
func New(options Options) (*Logger, error) {
	file := options.file()
	out, err := openOutput(file)
	if err != nil {
		return nil, err
	}
	format := options.Format
	if format == "" || format == FormatAuto {
		switch {
		case out.isTerminal():
			format = FormatConsole
		case file == os.Stderr && inJournal():
			format = FormatJournal
		default:
			format = FormatJSON
		}
	}
	if format == FormatJournal && !journal.Enabled() {
		out.Close()
		return nil, fmt.Errorf("the journal does not listen at %s", journalSocket)
	}
	return open(format, options.Level, file, out)
}

// open makes a Logger of a format that is not FormatAuto. out is the output of file.
func open(format Format, level zapcore.Level, file *os.File, out *output) (*Logger, error) {
	var encoder zapcore.Encoder
	var to io.WriteCloser = out
	switch format {
	case FormatConsole:
		encoder = newConsoleEncoder(useColour(out.isTerminal(), os.Getenv))
	case FormatJournal:
		encoder, to = newJournalEncoder(), newJournalOutput(out)
	default:
		encoder = newJSONEncoder()
	}
	l := newLogger(zap.NewAtomicLevelAt(level), encoder, newQueue(to, encoder, queueLimit))
	l.format = format
	if to != io.WriteCloser(out) {
		// The journal has the events. Lines that are none go to the file.
		out, err := openOutput(file)
		if err != nil {
			_ = l.Close(0)
			return nil, err
		}
		l.raw = newQueue(out, newJSONEncoder(), queueLimit)
	}
	return l, nil
}

// newLogger makes a logger that writes to a queue.
func newLogger(level zap.AtomicLevel, encoder zapcore.Encoder, q *queue) *Logger {
	c := &core{LevelEnabler: level, encoder: encoder, queue: q}
	// zap reports its own errors on fd 2, and may block there. That is not
	// worth a wait, because the queue counts the lines that it loses.
	return &Logger{Logger: zap.New(c, zap.ErrorOutput(zapcore.AddSync(io.Discard))), Level: level, queue: q, raw: q}
}

// Lost returns how many lines were lost so far, and the time of the last one.
func (l *Logger) Lost() (lines int64, last time.Time) {
	lines, last = l.queue.lostSoFar()
	if l.raw != l.queue {
		more, at := l.raw.lostSoFar()
		if lines += more; at.After(last) {
			last = at
		}
	}
	return lines, last
}

// Raw writes a line as it is, with its newline, to the file of the log. Such a
// line is no event, and has no level. Like an event it never waits, and counts as
// lost if there is no room.
func (l *Logger) Raw(line []byte) { l.raw.add(line, false) }

// Close writes the queued lines, for at most timeout. If the reader of the log
// is too slow, the error says how much was not written. Events during or after
// Close are dropped.
func (l *Logger) Close(timeout time.Duration) error {
	if l.raw == l.queue {
		return l.queue.close(timeout)
	}
	begun := time.Now()
	err := l.raw.close(timeout)
	return errors.Join(err, l.queue.close(max(0, timeout-time.Since(begun))))
}

// A core connects an encoder to a queue.
type core struct {
	zapcore.LevelEnabler
	encoder zapcore.Encoder
	queue   *queue
}

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	clone := &core{LevelEnabler: c.LevelEnabler, encoder: c.encoder.Clone(), queue: c.queue}
	for _, f := range fields {
		f.AddTo(clone.encoder)
	}
	return clone
}

func (c *core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	line, err := c.encoder.EncodeEntry(entry, fields)
	if err != nil {
		return err
	}
	c.queue.add(line.Bytes(), entry.Message == EventStopped)
	line.Free()
	return nil
}

// Sync does nothing, because zap calls it at any time. Close waits for the
// queue.
func (c *core) Sync() error { return nil }

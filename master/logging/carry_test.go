package logging

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// takeOver puts another queue in the place of one, as an exec does, unless a write does
// not end. Then the queue goes on.
func takeOver(q *queue) *queue {
	if q.pause(time.Now().Add(3*batchDelay)) != nil {
		return q
	}
	s := q.export()
	next := newQueue(q.out, q.encoder, q.limit)
	next.restore(&s)
	q.writer.out = io.Discard // the queue before ends without another write
	_ = q.close(time.Minute)
	waitUntilWriting()
	next.resume()
	return next
}

// keptOpen is a file that stays open for the queue after this one.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

// again returns a state as the program that takes over reads it.
func again(t *testing.T, s State) *State {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	read := new(State)
	if err := json.Unmarshal(text, read); err != nil {
		t.Fatal(err)
	}
	return read
}

// full is a state with everything in it.
func full() State {
	q := QueueState{
		Partial: []byte("end of a line\n"), Refused: 2, Pending: []byte("one\ntwo\n"), Dropped: 3, Lost: 5, LostAt: 1e18,
	}
	raw := q
	raw.Pending = []byte("three\n")
	return State{Level: "warn", Format: FormatJournal, Events: q, Raw: &raw}
}

// outputFile returns a file to log to, and a function that reads it.
func outputFile(t *testing.T) (file *os.File, read func() string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func TestStateGoesOver(t *testing.T) {
	for _, format := range []Format{FormatConsole, FormatJSON, FormatJournal} {
		file, read := outputFile(t)
		want := full()
		if want.Format = format; format != FormatJournal {
			want.Raw = nil
		}
		l, err := Restore(Options{Output: file}, again(t, want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *again(t, l.Export())); diff != "" {
			t.Errorf("%s: the state differs (- want, + got):\n%s", format, diff)
		}
		if lost, at := l.Lost(); lost == 0 || at.UnixNano() != want.Events.LostAt {
			t.Errorf("%d lines are lost, the last at %v", lost, at)
		}
		if l.Level.Level() != zapcore.WarnLevel {
			t.Errorf("level %v", l.Level)
		}
		// Until Resume the program before may have to go on, and writes all that.
		l.Warn("another")
		time.Sleep(4 * batchDelay)
		if text := read(); text != "" {
			t.Errorf("%q was written", text)
		}
		l.Resume()
		if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
			t.Error(err)
		}
	}
}

// After Resume the file has what was left to be written, in the order of the lines, and
// then goes on.
func TestRestoredLogGoesOn(t *testing.T) {
	file, read := outputFile(t)
	s := full()
	s.Format, s.Raw = FormatJSON, nil
	l, err := Restore(Options{Output: file}, &s)
	if err != nil {
		t.Fatal(err)
	}
	l.Info("below the level")
	l.Resume()
	l.Warn("next")
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(read(), "\n")
	want := []string{"end of a line", `"log lines lost","lines":2`, "one", "two", `"log lines lost","lines":`}
	for i, text := range want {
		if i >= len(lines) || !strings.Contains(lines[i], text) {
			t.Fatalf("line %d is not %q:\n%s", i, text, read())
		}
	}
	if lost, _ := l.Lost(); strings.Contains(read(), "below") || lost != 6 && !strings.Contains(read(), `"next"`) {
		t.Errorf("%d lines are lost, of\n%s", lost, read())
	}
}

// A log that stands still loses nothing of what is logged meanwhile.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		l := newTestLogger(&out, newJSONEncoder(), queueLimit)
		l.Info("first")
		if err := l.Pause(time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, "first") {
			t.Errorf("%q is not written", got)
		}
		l.Info("second")
		waitUntilWriting()
		if got := out.String(); strings.Contains(got, "second") {
			t.Errorf("%q was written", got)
		}
		if s := l.Export(); !bytes.Contains(s.Events.Pending, []byte("second")) {
			t.Errorf("%q waits", s.Events.Pending)
		}
		l.Resume()
		waitUntilWriting()
		if got := out.String(); strings.Count(got, "second") != 1 {
			t.Errorf("%q", got)
		}
		if err := l.Pause(time.Minute); err != nil {
			t.Fatal(err)
		}
		l.Info("third")
		if err := l.Close(time.Minute); err != nil {
			t.Error(err)
		}
		if got := out.String(); strings.Count(got, "third") != 1 {
			t.Errorf("%q", got)
		}
	})
}

// A write that does not end is an error, and the log goes on.
func TestPauseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newBlockedFile()
		l := newTestLogger(out, newJSONEncoder(), queueLimit)
		l.Info("first")
		if err := l.Pause(time.Second); err == nil || !strings.Contains(err.Error(), "does not read") {
			t.Errorf("%v", err)
		}
		out.open()
		l.Info("second")
		waitUntilWriting()
		if got := out.String(); !strings.Contains(got, "second") {
			t.Errorf("%q", got)
		}
		if err := l.Close(time.Minute); err != nil {
			t.Error(err)
		}
	})
}

// FuzzRestore: whatever a state says, it is an error or a log.
func FuzzRestore(f *testing.F) {
	for _, s := range []State{full(), {}, {Level: "info", Format: FormatJSON}} {
		text, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { null.Close() })
	f.Fuzz(func(t *testing.T, text []byte) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		l, err := Restore(Options{Output: null}, &s)
		if err != nil {
			return
		}
		if diff := cmp.Diff(s, *again(t, l.Export())); diff != "" && !strings.Contains(diff, "[]uint8") {
			t.Errorf("the state differs (- want, + got):\n%s", diff)
		}
		if s.Format == FormatJournal {
			l.queue.out.(*journalOutput).send = nil // the goroutine stands still, and has nothing to send
			l.queue.pending, l.raw.pending = nil, nil
		}
		if err := l.Close(time.Minute); err != nil {
			t.Error(err)
		}
	})
}

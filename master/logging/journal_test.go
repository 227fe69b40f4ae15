package logging

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A fakeJournal takes the place of the journal.
type fakeJournal struct {
	mu      sync.Mutex
	entries []entry
	hang    chan struct{} // if not nil, what sending waits for
	sendErr error
	roomErr error
	waits   []time.Duration
}

type entry struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

func (h *fakeJournal) send(message string, priority journal.Priority, fields map[string]string) error {
	if h.hang != nil {
		<-h.hang
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sendErr != nil {
		return h.sendErr
	}
	h.entries = append(h.entries, entry{message, priority, fields})
	return nil
}

func (h *fakeJournal) room(wait time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = append(h.waits, wait)
	return h.roomErr
}

func (h *fakeJournal) tries() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waits)
}

func (h *fakeJournal) fail(send, room error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sendErr, h.roomErr = send, room
}

// journalLogger returns a logger to a fake journal, and a function that reads
// its stderr.
func journalLogger(t *testing.T) (*Logger, *fakeJournal, func() string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stderr, err := openOutput(file)
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeJournal{}
	out := newJournalOutput(stderr)
	out.send, out.waitRoom = h.send, h.room
	return newTestLogger(out, newJournalEncoder(), queueLimit), h, func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// Every field of an event becomes a field of the journal, with its name in
// capitals and its value as in JSON.
func TestJournalFields(t *testing.T) {
	l, h, stderr := journalLogger(t)
	l.With(Service("echo")).Warn(EventReaped, Conn("mi8f2k1c-2"), Peer("127.0.0.1:50313"), Local("127.0.0.1:7007"), PID(4712),
		ExitCode(3), Reason("error"), Duration(35*time.Millisecond), BytesIn(5),
		zap.String("strange-key\x1b", "two\nlines\x00"), zap.Bool("dry_run", true),
		zap.Dict("report", zap.String("user", "alice")))
	l.Error(EventSpawnFailed, Error(errors.New("no")))
	l.Debug("quiet")
	l.Info(EventStopped)
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if len(h.entries) != 4 {
		t.Fatalf("%d entries: %+v", len(h.entries), h.entries)
	}
	for i, want := range []journal.Priority{journal.PriWarning, journal.PriErr, journal.PriDebug, journal.PriInfo} {
		if h.entries[i].Priority != want {
			t.Errorf("%q has priority %d, want %d", h.entries[i].Message, h.entries[i].Priority, want)
		}
	}
	got := h.entries[0]
	if got.Fields["PREFORKD_TS"] == "" {
		t.Error("no time")
	}
	delete(got.Fields, "PREFORKD_TS")
	want := map[string]string{
		"SYSLOG_IDENTIFIER": "preforkd", "PREFORKD_EVENT": "reaped", "PREFORKD_SERVICE": "echo", "PREFORKD_CONNECTION": "mi8f2k1c-2",
		"PREFORKD_PEER": "127.0.0.1:50313", "PREFORKD_LOCAL": "127.0.0.1:7007", "PREFORKD_PID": "4712", "PREFORKD_EXIT_CODE": "3",
		"PREFORKD_REASON": "error", "PREFORKD_DURATION": "0.035", "PREFORKD_BYTES_IN": "5", "PREFORKD_STRANGE_KEY_": "two\nlines\x00",
		"PREFORKD_DRY_RUN": "true", "PREFORKD_REPORT": `{"user":"alice"}`,
	}
	if diff := cmp.Diff(want, got.Fields); diff != "" {
		t.Error(diff)
	}
	message := `reaped echo mi8f2k1c-2 127.0.0.1:50313 pid 4712 exit 3 error 35ms in 5 B "strange-key\x1b"="two\nlines\x00" dry_run=true report=map[user:alice]`
	if got.Message != message {
		t.Errorf("message %q\nwant    %q", got.Message, message)
	}
	if stderr() != "" {
		t.Errorf("stderr has %q", stderr())
	}
}

// Long names are cut, because the journal would drop the field.
func TestJournalName(t *testing.T) {
	for key, want := range map[string]string{
		"exit_code": "PREFORKD_EXIT_CODE", "": "PREFORKD_", "ä.b c": "PREFORKD___B_C",
		strings.Repeat("x", 100): "PREFORKD_" + strings.Repeat("X", 55),
	} {
		if got := journalName(key); got != want {
			t.Errorf("journalName(%q) = %q, want %q", key, got, want)
		}
	}
}

// Without a journal the events go to stderr as JSON, and none is lost. When the
// journal is back, it gets the next event.
func TestJournalGone(t *testing.T) {
	l, h, stderr := journalLogger(t)
	h.fail(unix.ECONNREFUSED, nil)
	l.Info(EventAccepted, Conn("a-1"))
	waitForText(t, stderr, `"conn":"a-1"`)
	h.fail(nil, nil)
	l.Info(EventAccepted, Conn("a-2"))
	l.Info(EventStopped)
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if text := stderr(); !strings.HasPrefix(text, `{"level":"info",`) || strings.Count(text, "\n") != 1 {
		t.Errorf("stderr has %q", text)
	}
	if len(h.entries) != 2 || h.entries[0].Fields["PREFORKD_CONNECTION"] != "a-2" || h.entries[1].Fields["PREFORKD_EVENT"] != EventStopped {
		t.Errorf("the journal has %+v", h.entries)
	}
}

// A journal that does not read delays one entry, and no other.
func TestJournalStuck(t *testing.T) {
	l, h, stderr := journalLogger(t)
	h.fail(nil, unix.EAGAIN)
	for range 3 {
		l.Info(EventAccepted)
	}
	l.Info(EventStopped)
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]time.Duration{roomWait, 0, 0, 0}, h.waits); diff != "" {
		t.Errorf("waited %s", diff)
	}
	if text := stderr(); strings.Count(text, "\n") != 4 || !strings.Contains(text, `"msg":"stopped"`) {
		t.Errorf("stderr has %q", text)
	}
}

// A journal whose room was filled by others delays one entry, and no other.
func TestJournalHangs(t *testing.T) {
	l, h, stderr := journalLogger(t)
	h.hang = make(chan struct{})
	for range 3 {
		l.Info(EventAccepted)
	}
	l.Info(EventStopped)
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	close(h.hang)
	if text := stderr(); strings.Count(text, "\n") != 4 || !strings.Contains(text, `"msg":"stopped"`) {
		t.Errorf("stderr has %q", text)
	}
	if n := h.tries(); n != 1 {
		t.Errorf("%d entries were to be sent, want 1", n)
	}
}

// If stderr is broken, too, the lines count as lost, and logging continues.
func TestJournalAndStderrGone(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	stderr, err := openOutput(full)
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeJournal{sendErr: unix.ENOENT}
	out := newJournalOutput(stderr)
	out.send, out.waitRoom = h.send, h.room
	l := newTestLogger(out, newJournalEncoder(), queueLimit)
	l.Info(EventAccepted)
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); ; time.Sleep(time.Millisecond) {
		if lost, _ := l.Lost(); lost > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the line is not lost")
		}
	}
	h.fail(nil, nil)
	l.Info(EventStopped)
	if err := l.Close(slowtest.Scale(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if len(h.entries) != 2 || h.entries[0].Fields["PREFORKD_LINES"] != "1" || h.entries[1].Fields["PREFORKD_EVENT"] != EventStopped {
		t.Errorf("the journal has %+v", h.entries)
	}
}

func waitForText(t *testing.T, read func() string, want string) {
	t.Helper()
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); !strings.Contains(read(), want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in %q", want, read())
		}
	}
}

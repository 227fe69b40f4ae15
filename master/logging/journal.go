package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// journalSocket is where the journal takes entries with fields.
const journalSocket = "/run/systemd/journal/socket"

// inJournal reports whether stderr leads to the journal, which JOURNAL_STREAM
// tells by the file's device and inode (systemd.exec(5)).
func inJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return is && err == nil && journal.Enabled()
}

// A journalOutput sends what a journalEncoder has written to the journal, and
// where that is gone, to stderr as JSON. The journal is tried again with every
// line.
type journalOutput struct {
	stderr *output
	// send, room are the journal's; fields so that tests can play it.
	send func(message string, priority journal.Priority, fields map[string]string) error
	room func(wait time.Duration) error
	// stuck says that the journal did not read within roomWait, and nobody
	// waits for it again before it does.
	stuck bool
}

func newJournalOutput(stderr *output) *journalOutput {
	return &journalOutput{stderr: stderr, send: journal.Send, room: journalRoom}
}

// roomWait is how long an entry waits for a journal that does not read. It is
// less than the end of the program waits for the log.
const roomWait = time.Second

// Write takes whole lines.
func (j *journalOutput) Write(lines []byte) (int, error) {
	written := 0
	for line := range bytes.Lines(lines) {
		text, object, found := bytes.Cut(line, []byte{journalSeparator})
		if !found {
			object = text
		}
		if j.toJournal(string(text), object) != nil {
			if _, err := j.stderr.Write(object); err != nil {
				return written, err
			}
		}
		written += len(line)
	}
	return written, nil
}

func (j *journalOutput) toJournal(message string, object []byte) error {
	priority, fields, err := journalFields(object)
	if err != nil {
		return err
	}
	wait := roomWait
	if j.stuck {
		wait = 0
	}
	err = j.room(wait)
	j.stuck = err == unix.EAGAIN
	if err != nil {
		return err
	}
	return j.send(message, priority, fields)
}

func (j *journalOutput) Close() error { return j.stderr.Close() }

// journalRoom waits until the journal has room for an entry: EAGAIN says that it
// had none in time. Without that, go-systemd would wait for it without end: the
// socket that it sends from is connected to nobody, and poll finds such a one
// always writable.
func journalRoom(wait time.Duration) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: journalSocket}); err != nil {
		return err
	}
	deadline := time.Now().Add(wait)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.EAGAIN
		}
		return nil
	}
}

// journalPrefix begins the name of every field of the master's own.
const journalPrefix = "PREFORKD_"

// journalFields returns what the journal is told beside the message: an event's
// fields under their names in capitals.
func journalFields(object []byte) (journal.Priority, map[string]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber() // as it is written
	var event map[string]any
	if err := decoder.Decode(&event); err != nil {
		return 0, nil, err
	}
	level, _ := event["level"].(string)
	fields := map[string]string{"SYSLOG_IDENTIFIER": "preforkd"}
	for key, value := range event {
		switch key {
		case "level":
			continue
		case "msg":
			key = "event"
		case keyConn:
			key = "connection"
		}
		fields[journalName(key)] = journalValue(value)
	}
	return journalPriority(level), fields, nil
}

// journalName returns a name that the journal takes: capitals, digits and
// underscores, at most 64 of them (systemd.journal-fields(7)).
func journalName(key string) string {
	name := journalPrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), 64)]
}

// journalValue returns a value as it stands in JSON, a string without its
// quotes.
func journalValue(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// journalPriority returns the syslog level of one of ours.
func journalPriority(level string) journal.Priority {
	switch level {
	case zapcore.DebugLevel.String():
		return journal.PriDebug
	case zapcore.WarnLevel.String():
		return journal.PriWarning
	case zapcore.ErrorLevel.String():
		return journal.PriErr
	}
	return journal.PriInfo
}

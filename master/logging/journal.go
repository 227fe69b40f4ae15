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

// journalSocket is the socket at which the journal receives entries with
// fields.
const journalSocket = "/run/systemd/journal/socket"

// inJournal reports whether stderr is connected to the journal. JOURNAL_STREAM
// has the device and inode of that file (systemd.exec(5)).
func inJournal() bool {
	ok, err := journal.StderrIsJournalStream()
	return ok && err == nil && journal.Enabled()
}

// A journalOutput sends the lines of a journalEncoder to the journal. If that
// fails, it writes the line to stderr as JSON. It tries the journal again for
// each line.
type journalOutput struct {
	stderr *output
	// send and waitRoom are the functions for the journal. Tests replace them.
	send     func(message string, priority journal.Priority, fields map[string]string) error
	waitRoom func(wait time.Duration) error
	// stuck says that the journal did not read within roomWait. The next
	// entries do not wait until it reads again.
	stuck bool
	// pending receives the result of a send that takes longer than sendWait. It
	// is nil if there is none.
	pending chan error
}

func newJournalOutput(stderr *output) *journalOutput {
	return &journalOutput{stderr: stderr, send: journal.Send, waitRoom: waitJournalRoom}
}

// roomWait is how long an entry waits for a journal that does not read. With
// sendWait it is less than the time that Close waits at the end of the program.
const roomWait = time.Second

// sendWait is how long it may take to send an entry. If there is room, the
// journal takes it at once. But other programs may have filled the room
// meanwhile. Then it is unknown when go-systemd returns (see waitJournalRoom).
const sendWait = roomWait / 2

// Write sends whole lines.
func (j *journalOutput) Write(lines []byte) (int, error) {
	written := 0
	for line := range bytes.Lines(lines) {
		text, object, found := bytes.Cut(line, []byte{journalSeparator})
		if !found {
			object = text
		}
		if j.sendToJournal(string(text), object) != nil {
			if _, err := j.stderr.Write(object); err != nil {
				return written, err
			}
		}
		written += len(line)
	}
	return written, nil
}

func (j *journalOutput) sendToJournal(message string, object []byte) error {
	priority, fields, err := journalFields(object)
	if err != nil {
		return err
	}
	select {
	case <-j.pending:
		j.pending = nil
	default:
		if j.pending != nil {
			return unix.EAGAIN
		}
	}
	wait := roomWait
	if j.stuck {
		wait = 0
	}
	err = j.waitRoom(wait)
	j.stuck = err == unix.EAGAIN
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- j.send(message, priority, fields) }()
	timeout := time.NewTimer(sendWait)
	defer timeout.Stop()
	select {
	case err := <-sent:
		return err
	case <-timeout.C:
		j.pending = sent
		return unix.EAGAIN
	}
}

func (j *journalOutput) Close() error { return j.stderr.Close() }

// waitJournalRoom waits until the journal has room for an entry. It returns
// EAGAIN if there is none in time. Without this check go-systemd could wait for
// ever: its socket is not connected, and for poll such a socket is always
// writable.
func waitJournalRoom(wait time.Duration) error {
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

// journalPrefix begins the name of each of the master's fields.
const journalPrefix = "PREFORKD_"

// journalFields returns the priority and the fields of an event for the
// journal. The names of the fields are in capitals.
func journalFields(object []byte) (journal.Priority, map[string]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber() // keeps a number as it is written
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

// journalName returns a name that the journal accepts: at most 64 capitals,
// digits and underscores (systemd.journal-fields(7)).
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

// journalValue returns a value as JSON has it, and a string without its quotes.
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

// journalPriority returns the syslog priority of a level.
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

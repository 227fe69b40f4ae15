package systemdtest

import (
	"encoding/json"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// An entry of the journal, by the names of its fields. What is not a string
// (fields that are there twice, or are no text) is left out.
type entry map[string]string

// journal returns the entries since the test began that match, as journalctl
// takes matches.
func (s *service) journal(t *testing.T, matches ...string) []entry {
	t.Helper()
	args := []string{"--output=json", "--all", "--no-pager", s.since}
	out := s.run(t, "journalctl", append(args, matches...)...)
	var entries []entry
	for line := range strings.Lines(out) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("journalctl: %v: %s", err, line)
		}
		e := entry{}
		for name, value := range fields {
			if text, ok := value.(string); ok {
				e[name] = text
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// await waits for an entry that matches, and has all of the texts in its message.
func (s *service) await(t *testing.T, match string, texts ...string) entry {
	t.Helper()
	var found entry
	until(t, "the journal has an entry "+match+" with "+strings.Join(texts, ", "), func() bool {
		for _, e := range s.journal(t, match) {
			if containsAll(e["MESSAGE"], texts) {
				found = e
				return true
			}
		}
		return false
	}, nil)
	return found
}

func containsAll(s string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(s, text) {
			return false
		}
	}
	return true
}

// serveOne starts the unit, has one client served to its end, and returns its address.
func (s *service) serveOne(t *testing.T) (peer string) {
	t.Helper()
	s.start(t)
	c := s.dial(t)
	c.echo(t, "hello")
	peer = c.LocalAddr().String()
	c.Close()
	s.await(t, "PREFORKD_EVENT=reaped")
	return peer
}

// What log-peer keeps out of the log is in no field of the journal, and in no
// message.
func TestJournalWithoutPeers(t *testing.T) {
	s := setup(t, `
[master]
log-peer = "none"
[service.echo]
listen  = ["127.0.0.1:7007"]
handler = "echo"
`, nil)
	peer := s.serveOne(t)
	told := s.journal(t, "SYSLOG_IDENTIFIER=preforkd")
	if len(told) < 3 {
		t.Fatalf("%d entries, want those of a start and of a connection: %v", len(told), told)
	}
	for _, e := range told {
		for field, text := range e {
			if field == "PREFORKD_PEER" || strings.Contains(text, peer) {
				t.Errorf("%s=%s", field, text)
			}
		}
	}
}

// The log's fields are the journal's, and people find their connections by them.
func TestJournal(t *testing.T) {
	s := setup(t, `
[service.echo]
listen  = ["127.0.0.1:7007"]
handler = "echo"
`, nil)
	peer := s.serveOne(t)

	reaped := s.journal(t, "PREFORKD_SERVICE=echo", "PREFORKD_EVENT=reaped", "PREFORKD_PEER="+peer)
	if len(reaped) != 1 {
		t.Fatalf("%d entries, want 1: %v", len(reaped), reaped)
	}
	e := reaped[0]
	for field, want := range map[string]string{
		"PREFORKD_SERVICE":   "echo",
		"PREFORKD_PEER":      peer,
		"PREFORKD_LOCAL":     address,
		"PREFORKD_REASON":    "eof",
		"PREFORKD_EXIT_CODE": "0",
		"PREFORKD_BYTES_IN":  "5",
		"PREFORKD_BYTES_OUT": "5",
		"PRIORITY":           "6",
		"SYSLOG_IDENTIFIER":  "preforkd",
		"_SYSTEMD_UNIT":      unit,
		"_TRANSPORT":         "journal",
	} {
		if e[field] != want {
			t.Errorf("%s is %q, want %q", field, e[field], want)
		}
	}
	for _, field := range []string{"PREFORKD_CONNECTION", "PREFORKD_PID", "PREFORKD_DURATION", "PREFORKD_MAX_RSS"} {
		if e[field] == "" {
			t.Errorf("there is no %s", field)
		}
	}
	if !strings.Contains(e["MESSAGE"], peer) {
		t.Errorf("the message says nothing of the peer: %q", e["MESSAGE"])
	}
	if both := s.journal(t, "PREFORKD_CONNECTION="+e["PREFORKD_CONNECTION"]); len(both) != 2 {
		t.Errorf("%d entries of the connection, want accepted and reaped: %v", len(both), both)
	}

	// Nothing is lost at the end, and nothing is said twice.
	s.systemctl(t, "stop", unit)
	s.await(t, "PREFORKD_EVENT=stopped")
	if stopped := s.journal(t, "PREFORKD_EVENT=stopped"); len(stopped) != 1 {
		t.Errorf("%d entries stopped, want 1: %v", len(stopped), stopped)
	}
	if stderr := s.journal(t, "_SYSTEMD_UNIT="+unit, "_TRANSPORT=stdout"); len(stderr) != 0 {
		t.Errorf("written to stderr besides: %v", stderr)
	}
}

// What is trouble has the priority of trouble.
func TestJournalPriority(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	s.configure(t, "[service.echo]\nlisten = 7\n")
	s.reloadFails(t)
	if e := s.await(t, "PREFORKD_EVENT=not reloaded"); e["PRIORITY"] != "3" {
		t.Errorf("the priority is %s, want 3, err: %v", e["PRIORITY"], e)
	}
}

// A worker's stderr goes to the journal as the service's, not as the master's log.
func TestWorkersStderr(t *testing.T) {
	s := setup(t, `
[service.echo]
listen  = ["127.0.0.1:7007"]
program = ["/bin/sh", "-c", "echo from a worker >&2; cat"]
`, nil)
	s.start(t)
	c := s.dial(t)
	c.echo(t, "hello")
	e := s.await(t, "_TRANSPORT=stdout", "from a worker")
	if e["_SYSTEMD_UNIT"] != unit {
		t.Errorf("the entry belongs to %q", e["_SYSTEMD_UNIT"])
	}
}

// While the journal stands still clients are served as ever. When it goes on, so
// does the log, and the last word of a master is not lost.
func TestJournalStandsStill(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	s.once(t, address)
	journald := s.PID(s.showNumber(t, "systemd-journald.service", "MainPID"))
	kill(t, journald, syscall.SIGSTOP)
	goOn := sync.OnceFunc(func() { kill(t, journald, syscall.SIGCONT) })
	t.Cleanup(goOn)

	// More events than fit in the journal's sockets.
	l := s.startLoad(t, 4, [2]string{"tcp", address})
	l.more(t, 1000)
	l.check(t)
	goOn()
	s.systemctl(t, "stop", unit)
	until(t, "the journal has the end", func() bool {
		for _, e := range s.journal(t, "_SYSTEMD_UNIT="+unit) {
			// While there was no room it was JSON, on stderr.
			if e["PREFORKD_EVENT"] == "stopped" || strings.Contains(e["MESSAGE"], `"msg":"stopped"`) {
				return true
			}
		}
		return false
	}, nil)
}

// A journal that is started anew is written to as before.
func TestJournalRestarts(t *testing.T) {
	s := setup(t, cat, nil)
	s.start(t)
	s.once(t, address)
	s.systemctl(t, "restart", "systemd-journald.service")
	c := s.dial(t)
	c.echo(t, "hello")
	peer := c.LocalAddr().String()
	c.Close()
	s.await(t, "PREFORKD_PEER="+peer)
}

package logging

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// A stackError is an error that prints its stack for %+v.
type stackError struct{}

func (stackError) Error() string { return "short" }
func (stackError) Format(s fmt.State, verb rune) {
	fmt.Fprint(s, "short")
	if s.Flag('+') {
		fmt.Fprint(s, "\nmain.go:1\nproc.go:283")
	}
}

func TestJSON(t *testing.T) {
	want := strings.TrimLeft(`
{"level":"info","ts":"2026-03-14T15:09:26.535900Z","msg":"listening","service":"echo","local":"127.0.0.1:7007"}
{"level":"debug","ts":"2026-03-14T15:09:26.535900Z","msg":"accepted","service":"echo","conn":"mi8f2k1c-1","peer":"127.0.0.1:50312","local":"127.0.0.1:7007","pid":4711}
{"level":"info","ts":"2026-03-14T15:09:26.535900Z","msg":"reaped","service":"echo","conn":"mi8f2k1c-1","peer":"127.0.0.1:50312","local":"127.0.0.1:7007","pid":4711,"exit_code":0,"reason":"eof","duration":1.234,"bytes_in":5,"bytes_out":5242880,"user_time":0.0012,"sys_time":0.0009,"max_rss":4300800}
{"level":"warn","ts":"2026-03-14T15:09:26.535900Z","msg":"reaped","service":"echo","conn":"mi8f2k1c-2","peer":"[2001:db8::1]:50313","pid":4712,"signal":"SIGSEGV","duration":0.035,"user_time":0,"sys_time":0.0007,"max_rss":1003520}
{"level":"warn","ts":"2026-03-14T15:09:26.535900Z","msg":"refused","service":"echo","peer":"192.0.2.200:50314","reason":"max-connections"}
{"level":"error","ts":"2026-03-14T15:09:26.535900Z","msg":"spawn failed","service":"echo","conn":"mi8f2k1c-3","peer":"unix:/run/client.sock","error":"fork/exec /usr/bin/cat: resource temporarily unavailable"}
{"level":"info","ts":"2026-03-14T15:09:26.535900Z","msg":"draining","signal":"SIGTERM","live":3,"timeout":30}
{"level":"info","ts":"2026-03-14T15:09:26.535900Z","msg":"reloaded","added":["git"]}
{"level":"info","ts":"2026-03-14T15:09:26.535900Z","msg":"stopped"}
`, "\n")
	at := time.Date(2026, 3, 14, 16, 9, 26, 535_900_000, time.FixedZone("CET", 3600))
	got := written(t, newJSONEncoder(), at, logEvents)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestJSONEscapesWhatTerminalsObey(t *testing.T) {
	const peer = "unix:/tmp/\x1b[31m\x7f\u009b2J\u00a0\u0080\u009fé"
	got := written(t, newJSONEncoder(), localTime, func(l *zap.Logger) { l.Info("x", Peer(peer)) })
	if want := `"unix:/tmp/\u001b[31m\u007f\u009b2J` + "\u00a0" + `\u0080\u009fé"`; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	var line struct{ Peer string }
	if err := json.Unmarshal([]byte(got), &line); err != nil || line.Peer != peer {
		t.Errorf("reads back as %q, %v", line.Peer, err)
	}
}

func TestErrorIsOneField(t *testing.T) {
	got := written(t, newJSONEncoder(), localTime.UTC(), func(l *zap.Logger) {
		l.Error("x", Error(stackError{}), Error(nil))
	})
	if !strings.HasSuffix(got, `"msg":"x","error":"short"}`+"\n") {
		t.Errorf("got %s", got)
	}
}

// Whatever a peer or a program puts into a line, it stays one line. No byte in
// it is a command for a terminal.
func FuzzLines(f *testing.F) {
	f.Add("reaped", "unix:/tmp/\x1b[31m", "eof")
	f.Add("a\nb", "\u009b", "\xc2\xc2\x9b\x7f")
	f.Fuzz(func(t *testing.T, event, peer, other string) {
		log := func(l *zap.Logger) { l.Info(event, Peer(peer), Reason(other), zap.String(other, peer)) }
		for name, got := range map[string]string{
			"console": written(t, newConsoleEncoder(false), localTime, log),
			"json":    written(t, newJSONEncoder(), localTime, log),
		} {
			body, ok := strings.CutSuffix(got, "\n")
			if !ok || !utf8.ValidString(body) {
				t.Errorf("%s: not a line of text: %q", name, got)
			}
			for _, r := range body {
				if r < ' ' || 0x7f <= r && r < 0xa0 {
					t.Errorf("%s: %U in %q", name, r, got)
				}
			}
			if name == "json" && !json.Valid([]byte(got)) {
				t.Errorf("not JSON: %q", got)
			}
		}
	})
}

package logging

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// localTime looks the same in the log in every time zone.
var localTime = time.Date(2026, 3, 14, 15, 9, 26, 535_900_000, time.Local)

func TestConsole(t *testing.T) {
	want := strings.TrimLeft(`
15:09:26.535  info   listening     echo                    127.0.0.1:7007
15:09:26.535  debug  accepted      echo      mi8f2k1c-1    127.0.0.1:50312        pid 4711  local=127.0.0.1:7007
15:09:26.535  info   reaped        echo      mi8f2k1c-1    127.0.0.1:50312        pid 4711     exit 0          eof          1.2s  in      5 B  out  5.0 MiB  cpu  2.1ms  rss  4.1 MiB
15:09:26.535  WARN   reaped        echo      mi8f2k1c-2    [2001:db8::1]:50313    pid 4712     signal SIGSEGV               35ms                             cpu  700µs  rss  980 KiB
15:09:26.535  WARN   refused       echo                    192.0.2.200:50314                                   max-connections
15:09:26.535  ERROR  spawn failed  echo      mi8f2k1c-3    unix:/run/client.sock  error="fork/exec /usr/bin/cat: resource temporarily unavailable"
15:09:26.535  info   draining      signal SIGTERM  live=3  timeout=30s
15:09:26.535  info   reloaded      added=[git]
15:09:26.535  info   stopped
`, "\n")
	got := written(t, newConsoleEncoder(false), localTime, logEvents)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConsoleInColour(t *testing.T) {
	got := written(t, newConsoleEncoder(true), localTime, logEvents)
	lines := strings.Split(got, "\n")
	for i, want := range map[int]string{
		0: "\x1b[2m15:09:26.535\x1b[0m  info   listening     echo                    127.0.0.1:7007",
		1: "\x1b[2m15:09:26.535\x1b[0m  \x1b[2mdebug\x1b[0m  \x1b[2maccepted\x1b[0m      echo      mi8f2k1c-1    127.0.0.1:50312        pid 4711  local=127.0.0.1:7007",
		4: "\x1b[2m15:09:26.535\x1b[0m  \x1b[33mWARN\x1b[0m   \x1b[33mrefused\x1b[0m       echo                    192.0.2.200:50314                                   max-connections",
		5: "\x1b[2m15:09:26.535\x1b[0m  \x1b[1;31mERROR\x1b[0m  \x1b[1;31mspawn failed\x1b[0m  echo      mi8f2k1c-3    unix:/run/client.sock  error=\"fork/exec /usr/bin/cat: resource temporarily unavailable\"",
	} {
		if lines[i] != want {
			t.Errorf("line %d:\n got %q\nwant %q", i, lines[i], want)
		}
	}
	// Without the colours the text is the same.
	bare := got
	for _, sequence := range []string{dim, yellow, red, reset} {
		bare = strings.ReplaceAll(bare, sequence, "")
	}
	if diff := cmp.Diff(written(t, newConsoleEncoder(false), localTime, logEvents), bare); diff != "" {
		t.Error(diff)
	}
}

func TestConsoleShowsValuesAsTheyAre(t *testing.T) {
	for _, test := range []struct {
		name  string
		field zap.Field
		want  string
	}{
		{"escape sequence", Peer("unix:/tmp/\x1b]0;title\a"), `"unix:/tmp/\x1b]0;title\a"`},
		{"one-byte CSI", Peer("unix:/tmp/\x9b31m"), `"unix:/tmp/\x9b31m"`},
		{"CSI as a rune", Reason("\u009b31m"), `"\u009b31m"`},
		{"new line", Reason("eof\nINFO stopped"), `"eof\nINFO stopped"`},
		{"right to left", zap.String("file", "\u202etxt.exe"), `file="\u202etxt.exe"`},
		{"not UTF-8", zap.String("file", "a\xffb"), `file="a\xffb"`},
		{"key", zap.String("a\x1b", "b"), `"a\x1b"=b`},
		{"space", zap.String("file", "a b"), `file="a b"`},
		{"equals sign", zap.String("file", "a=b"), `file="a=b"`},
		{"quote", zap.String("file", `a"b`), `file="a\"b"`},
		{"empty", zap.String("file", ""), `file=""`},
		{"letters", zap.String("file", "Grüße/日本"), `file=Grüße/日本`},
		{"error", Error(errors.New("write: \x1b[2J")), `error="write: \x1b[2J"`},
		{"bool", zap.Bool("once", true), `once=true`},
		{"duration", zap.Duration("timeout", 90*time.Second), `timeout=1m30s`},
		{"stack", zap.Any("cause", stackError{}), `cause=short`},
		{"real-time signal", Signal(34), `signal SIG34`},
	} {
		got := written(t, newConsoleEncoder(false), localTime, func(l *zap.Logger) { l.Info("x", test.field) })
		got = strings.TrimSpace(strings.TrimPrefix(got, "15:09:26.535  info   x"))
		first, _, _ := strings.Cut(got, "  ")
		if first != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	got := written(t, newConsoleEncoder(false), localTime, func(l *zap.Logger) { l.Info("a\x1b[2Jb") })
	if want := `"a\x1b[2Jb"`; !strings.Contains(got, want) {
		t.Errorf("event: got %q, want %s in it", got, want)
	}
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	for _, test := range []struct {
		terminal bool
		env      map[string]string
		want     bool
	}{
		{true, map[string]string{"TERM": "xterm"}, true},
		{false, map[string]string{"TERM": "xterm"}, false},
		{true, map[string]string{"TERM": "dumb"}, false},
		{true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
		{true, map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
	} {
		if got := useColour(test.terminal, func(key string) string { return test.env[key] }); got != test.want {
			t.Errorf("terminal %v, %v: got %v", test.terminal, test.env, got)
		}
	}
}

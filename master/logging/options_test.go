package logging

import (
	"testing"

	"go.uber.org/zap/zapcore"
)

func TestParseFormat(t *testing.T) {
	for _, want := range []Format{FormatAuto, FormatConsole, FormatJSON} {
		if got, err := ParseFormat(string(want)); got != want || err != nil {
			t.Errorf("%s: got %q, %v", want, got, err)
		}
	}
	for _, s := range []string{"", "JSON", "xml"} {
		want := `log format "` + s + `": write auto, console, json or journal`
		if _, err := ParseFormat(s); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", s, err, want)
		}
	}
}

func TestParseLevel(t *testing.T) {
	for s, want := range map[string]zapcore.Level{
		"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "warn": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
	} {
		if got, err := ParseLevel(s); got != want || err != nil {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Info", "panic", "fatal", "loud"} {
		want := `log level "` + s + `": write debug, info, warn or error`
		if _, err := ParseLevel(s); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", s, err, want)
		}
	}
}

package logging

import (
	"fmt"
	"os"

	"go.uber.org/zap/zapcore"
)

// Options says how to log. The zero value logs at level info to stderr, in the
// format that fits what stderr is.
type Options struct {
	Format Format        // "" is FormatAuto
	Level  zapcore.Level // events below it are not written
	Output *os.File      // nil is os.Stderr; the caller keeps it
}

// A Format is a way to write events.
type Format string

const (
	FormatAuto    Format = "auto"    // console on a terminal, journal where stderr leads there, else JSON
	FormatConsole Format = "console" // aligned lines for people
	FormatJSON    Format = "json"    // an object to a line
	FormatJournal Format = "journal" // entries of systemd's journal, with fields
)

// ParseFormat parses what a person wrote for --log-format. The error names
// what is allowed.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatAuto, FormatConsole, FormatJSON, FormatJournal:
		return f, nil
	}
	return "", fmt.Errorf("log format %q: write %s, %s, %s or %s", s, FormatAuto, FormatConsole, FormatJSON, FormatJournal)
}

// ParseLevel parses what a person wrote for --log-level. The error names what
// is allowed. zap's own parser is not used: it knows levels that end the
// process.
func ParseLevel(s string) (zapcore.Level, error) {
	for _, level := range []zapcore.Level{
		zapcore.DebugLevel, zapcore.InfoLevel, zapcore.WarnLevel, zapcore.ErrorLevel,
	} {
		if s == level.String() {
			return level, nil
		}
	}
	return 0, fmt.Errorf("log level %q: write debug, info, warn or error", s)
}

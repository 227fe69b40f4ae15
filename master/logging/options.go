package logging

import (
	"fmt"
	"os"

	"go.uber.org/zap/zapcore"
)

// Options says how to log. The zero Options log at level info to stderr, in a
// format that depends on what stderr is.
type Options struct {
	Format Format        // "" is FormatAuto
	Level  zapcore.Level // events below it are not written
	Output *os.File      // nil is os.Stderr; the caller keeps it
}

// file returns where to log to, which stays the caller's.
func (o *Options) file() *os.File {
	if o.Output == nil {
		return os.Stderr
	}
	return o.Output
}

// A Format is a way to write events.
type Format string

const (
	FormatAuto    Format = "auto"    // console on a terminal, journal if stderr is connected to it, else JSON
	FormatConsole Format = "console" // aligned lines for people
	FormatJSON    Format = "json"    // one object in each line
	FormatJournal Format = "journal" // entries of systemd's journal, with fields
)

// ParseFormat parses the value of --log-format. The error names the allowed
// values.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatAuto, FormatConsole, FormatJSON, FormatJournal:
		return f, nil
	}
	return "", fmt.Errorf("log format %q: write %s, %s, %s or %s", s, FormatAuto, FormatConsole, FormatJSON, FormatJournal)
}

// ParseLevel parses the value of --log-level. The error names the allowed
// values. zap's own parser is no choice, because it also knows levels that end
// the process.
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

package logging

import (
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// The few colours used, as ECMA-48 sequences (SGR) that every terminal with
// colours knows.
const (
	plain  = ""
	dim    = "\x1b[2m"
	yellow = "\x1b[33m"
	red    = "\x1b[1;31m"
	reset  = "\x1b[0m"
)

// useColour reports whether the output is one that shows colours to somebody
// who did not ask for none (no-color.org).
func useColour(terminal bool, getenv func(string) string) bool {
	return terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

func levelColour(level zapcore.Level) string {
	switch {
	case level >= zapcore.ErrorLevel:
		return red
	case level == zapcore.WarnLevel:
		return yellow
	case level < zapcore.InfoLevel:
		return dim
	}
	return plain
}

// paint appends text in a colour, if colours are wanted.
func (e consoleEncoder) paint(line *buffer.Buffer, colour, text string) {
	if !e.colour || colour == plain {
		line.AppendString(text)
		return
	}
	line.AppendString(colour)
	line.AppendString(text)
	line.AppendString(reset)
}

package logging

import (
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// The colours, as ECMA-48 sequences (SGR) that every terminal with colours
// knows.
const (
	plain  = ""
	dim    = "\x1b[2m"
	yellow = "\x1b[33m"
	red    = "\x1b[1;31m"
	reset  = "\x1b[0m"
)

// useColour reports whether to use colours: the output must be a terminal with
// colours, and the user must not have refused them (no-color.org).
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

// paint appends text, in a colour if the encoder uses colours.
func (e consoleEncoder) paint(line *buffer.Buffer, colour, text string) {
	if !e.colour || colour == plain {
		line.AppendString(text)
		return
	}
	line.AppendString(colour)
	line.AppendString(text)
	line.AppendString(reset)
}

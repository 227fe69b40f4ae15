package terminal

import (
	"bytes"
	"fmt"
	"strings"
)

// An inputLine describes how the input line was drawn. The screen needs it to erase the
// line.
type inputLine struct {
	painted bool
	text    string  // the whole text with its prompt
	start   int     // the column where it begins
	painter painter // the position of the cursor, relative to the start
	below   bool    // it is on the row below the preceding text
}

// drawInput draws the input line, or changes the drawn one.
func (s *screen) drawInput() {
	if !s.typing {
		return
	}
	if s.appendInput() {
		return
	}
	s.eraseInput()
	width, _ := s.size()
	s.moveToInputStart(width)
	t := inputLine{painted: true, start: s.column, below: s.input.below}
	if t.below {
		t.start = 0
	}
	t.painter = painter{width: width, column: t.start}
	prompt, line := s.prompt(t), s.line
	if room := s.inputCells(t); textWidth(line) > room {
		line = "<" + lastCells(line, room-2)
	}
	s.buffer = append(s.buffer, s.style.colourize(ownColour, prompt)...)
	t.painter.column += textWidth(prompt)
	s.buffer = t.painter.forceWrap(t.painter.write(s.buffer, line))
	t.text = prompt + line
	s.input = t
}

// prompt returns the text before the input line.
func (s *screen) prompt(t inputLine) string {
	if t.start > 0 {
		return ""
	}
	return s.own
}

// inputCells returns the maximum width of the shown input. Of a longer line only the
// end is shown. One row is left for an open line above, and one cell for the cursor.
// Otherwise a part would scroll out of reach. A terminal without cursor movements can
// only erase one row.
func (s *screen) inputCells(t inputLine) int {
	width, height := s.size()
	rows := max(height-2, 1)
	if s.dumb {
		rows = 1
	}
	return rows*width - 1 - t.start - textWidth(s.prompt(t))
}

// appendInput handles the usual case, one more character, without a redraw. A redraw
// would flicker on a slow line.
func (s *screen) appendInput() bool {
	t := &s.input
	if !t.painted {
		return false
	}
	width, _ := s.size()
	more, longer := strings.CutPrefix(s.prompt(*t)+s.line, t.text)
	if !longer || width != t.painter.width || textWidth(s.line) > s.inputCells(*t) {
		return false
	}
	s.buffer = t.painter.forceWrap(t.painter.write(s.buffer, more))
	t.text += more
	return true
}

// moveToInputStart moves the cursor to where the input line can begin.
func (s *screen) moveToInputStart(width int) {
	const little = 10 // too few columns for an input line
	switch {
	case s.column == 0:
	case s.hasNames() && !s.onOwnLine && s.column < width && !s.dumb:
		s.buffer = append(s.buffer, '\r', '\n')
		s.input.below = true
	case s.hasNames() && !s.onOwnLine, s.dumb && s.column > width-little:
		// The cursor cannot return to that row, so the line continues below.
		s.buffer = append(s.buffer, '\r', '\n')
		s.column, s.rowFull = 0, true
	case s.column >= width:
		s.buffer = append(s.buffer, ' ', '\r') // see painter.forceWrap
		s.column, s.rowFull = 0, true
	}
}

// eraseInput erases the input line and puts the cursor behind the preceding text.
func (s *screen) eraseInput() {
	t := s.input
	s.input = inputLine{}
	if !t.painted {
		return
	}
	if s.dumb {
		n := t.painter.column
		if t.painter.row == 0 {
			n -= t.start
		} // otherwise the row was too short, and the cursor cannot return to its start
		for _, c := range []string{"\b", " ", "\b"} {
			s.buffer = append(s.buffer, bytes.Repeat([]byte(c), n)...)
		}
		return
	}
	if t.painter.row > 0 {
		s.buffer = fmt.Appendf(s.buffer, "\x1b[%dA", t.painter.row)
	}
	s.buffer = append(s.buffer, '\r')
	if t.start > 0 {
		s.buffer = fmt.Appendf(s.buffer, "\x1b[%dC", t.start)
	}
	s.buffer = append(s.buffer, "\x1b[J"...)
	if t.below {
		s.buffer = fmt.Appendf(s.buffer, "\x1b[A\x1b[%dC", s.column)
	}
}

package terminal

import (
	"bytes"
	"fmt"
	"strings"
)

// A typedLine is how the line being typed was painted, which is what it takes
// to remove it again.
type typedLine struct {
	painted bool
	text    string // all of it, with what stands before it
	start   int    // the column it begins in
	pen     pen    // where the cursor is, from there
	below   bool   // it is on the row below the text that precedes it
}

// paint puts the typed line on the screen, or changes the one that is there.
func (s *screen) paint() {
	if !s.typing {
		return
	}
	if s.extend() {
		return
	}
	s.erase()
	width, _ := s.size()
	s.makeRoom(width)
	t := typedLine{painted: true, start: s.column, below: s.typed.below}
	if t.below {
		t.start = 0
	}
	t.pen = pen{width: width, column: t.start}
	prompt, line := s.prompt(t), s.line
	if room := s.room(t); textWidth(line) > room {
		line = "<" + tail(line, room-2)
	}
	s.buffer = append(s.buffer, s.style.paint(ownColour, prompt)...)
	t.pen.column += textWidth(prompt)
	s.buffer = t.pen.settle(t.pen.put(s.buffer, line))
	t.text = prompt + line
	s.typed = t
}

// prompt returns what stands before the typed line.
func (s *screen) prompt(t typedLine) string {
	if t.start > 0 {
		return ""
	}
	return s.own
}

// room returns how many cells of the typed line are shown; of a longer one it
// is the end. It leaves a row for an open line above and a cell for the cursor,
// or part of it would scroll out of reach. Without cursor movements only one
// row can be taken back.
func (s *screen) room(t typedLine) int {
	width, height := s.size()
	rows := max(height-2, 1)
	if s.dumb {
		rows = 1
	}
	return rows*width - 1 - t.start - textWidth(s.prompt(t))
}

// extend covers the usual case, one more character, without a repaint, which a
// slow line would show as flicker.
func (s *screen) extend() bool {
	t := &s.typed
	if !t.painted {
		return false
	}
	width, _ := s.size()
	more, longer := strings.CutPrefix(s.prompt(*t)+s.line, t.text)
	if !longer || width != t.pen.width || textWidth(s.line) > s.room(*t) {
		return false
	}
	s.buffer = t.pen.settle(t.pen.put(s.buffer, more))
	t.text += more
	return true
}

// makeRoom brings the cursor to where the typed line can begin.
func (s *screen) makeRoom(width int) {
	const little = 10 // columns in which no line can be typed
	switch {
	case s.column == 0:
	case s.chat() && !s.mine && s.column < width && !s.dumb:
		s.buffer = append(s.buffer, '\r', '\n')
		s.typed.below = true
	case s.chat() && !s.mine, s.dumb && s.column > width-little:
		// There is no way back to that row, so its line goes on below.
		s.buffer = append(s.buffer, '\r', '\n')
		s.column, s.filled = 0, true
	case s.column >= width:
		s.buffer = append(s.buffer, ' ', '\r') // see pen.settle
		s.column, s.filled = 0, true
	}
}

// erase takes the typed line off the screen and puts the cursor behind the text
// that precedes it.
func (s *screen) erase() {
	t := s.typed
	s.typed = typedLine{}
	if !t.painted {
		return
	}
	if s.dumb {
		n := t.pen.column
		if t.pen.row == 0 {
			n -= t.start
		} // else the row was too short for it, and there is no way back to its beginning
		for _, c := range []string{"\b", " ", "\b"} {
			s.buffer = append(s.buffer, bytes.Repeat([]byte(c), n)...)
		}
		return
	}
	if t.pen.row > 0 {
		s.buffer = fmt.Appendf(s.buffer, "\x1b[%dA", t.pen.row)
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

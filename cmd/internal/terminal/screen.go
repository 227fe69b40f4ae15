package terminal

import (
	"fmt"
	"io"
	"strings"
)

// A screen is a terminal on which text is received while a line is typed. The
// line being typed is always last: it is taken away before anything else is
// written and put back below it.
//
// In a chat, where lines have names before them, the typed line stands on a row
// of its own even while a line of the peer is incomplete. Without names it
// follows directly, as after a server's prompt.
//
// Methods write what they have to in one go, so that no half of it is seen.
type screen struct {
	style
	out     io.Writer
	notices io.Writer // stderr: the same terminal, or not
	size    func() (columns, rows int)
	typing  bool // a line is being typed; without this it only prints

	clean  Sanitizer
	column int  // where the text above the typed line ended
	open   bool // it ended within a line of the peer
	mine   bool // it ended within a line of one's own
	filled bool // it filled its last row, and the cursor is on the next one

	line  string // what is typed, safe to print
	typed typedLine

	buffer []byte // what the method under way writes
}

// chat reports whether lines have names before them.
func (s *screen) chat() bool { return s.peer != "" }

// receive shows text from the peer.
func (s *screen) receive(p []byte) error {
	s.print(string(s.clean.Append(nil, p)))
	return s.flush()
}

// edit shows the line as it is typed now.
func (s *screen) edit(line []byte) error {
	s.line = string(Safe(line))
	s.paint()
	return s.flush()
}

// sent turns the line being typed into one that has been said. One that was
// sent before its end goes on behind it.
func (s *screen) sent(line []byte) error {
	said, whole := strings.CutSuffix(string(line), "\n")
	s.erase()
	if s.column > 0 && !s.mine && s.chat() {
		s.freshLine()
	}
	if s.column == 0 {
		s.label(ownColour, s.own)
	}
	p := s.pen(s.own)
	s.buffer = p.put(s.buffer, string(Safe([]byte(said))))
	s.column, s.mine, s.open, s.filled = p.column, true, false, false
	if whole {
		s.freshLine()
	}
	s.line = ""
	s.paint()
	return s.flush()
}

// notice writes a line about the connection to stderr. That it cannot be
// written is no reason to end the connection.
func (s *screen) notice(text string) error {
	s.erase()
	s.freshLine()
	if err := s.flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.notices, "%s\n", strings.Join(strings.Fields(string(Safe([]byte(text)))), " "))
	s.paint()
	return s.flush()
}

// close shows what was held back of the peer's text, takes the typed line away
// for good and leaves the cursor on a fresh line.
func (s *screen) close() error {
	s.print(string(s.clean.Flush(nil)))
	s.suspend()
	s.typing = false
	return s.flush()
}

// suspend takes the typed line away until resume, for somebody else to write.
func (s *screen) suspend() error {
	s.erase()
	s.freshLine()
	return s.flush()
}

// resume puts the typed line back.
func (s *screen) resume() error {
	s.paint()
	return s.flush()
}

// resized repaints the typed line for a screen of another width.
func (s *screen) resized() error {
	s.erase()
	s.paint()
	return s.flush()
}

func (s *screen) flush() error {
	if len(s.buffer) == 0 {
		return nil
	}
	_, err := s.out.Write(s.buffer)
	s.buffer = s.buffer[:0]
	return err
}

// print appends safe text of the peer to what is above the typed line.
func (s *screen) print(text string) {
	if text == "" {
		return
	}
	s.erase()
	if s.mine {
		s.freshLine()
	}
	for line := range strings.Lines(text) {
		content, whole := strings.CutSuffix(line, "\n")
		switch {
		case s.chat() && !s.open:
			s.freshLine()
			s.label(peerColour, s.peer)
		case s.filled && content != "":
			indent := s.indent(s.peer)
			s.buffer = append(s.buffer, strings.Repeat(" ", indent)...)
			s.column = indent
		}
		p := s.pen(s.peer)
		s.buffer = p.put(s.buffer, content)
		s.column, s.open = p.column, true
		if content != "" {
			s.filled = false
		}
		switch {
		case whole && s.filled: // the end of the row has ended the line
			s.column, s.open, s.filled = 0, false, false
		case whole:
			s.buffer = append(s.buffer, '\r', '\n')
			s.column, s.open = 0, false
		}
	}
	s.paint()
}

// label writes what stands before a line.
func (s *screen) label(colour, text string) {
	s.buffer = append(s.buffer, s.style.paint(colour, text)...)
	s.column, s.filled = textWidth(text), false
}

// pen returns a pen for text above the typed line, on a line that begins with
// label.
func (s *screen) pen(label string) pen {
	width, _ := s.size()
	return pen{width: width, column: s.column, indent: s.indent(label)}
}

// indent keeps the rows that a long line goes on to clear of the first columns
// in a chat, or the peer could make them look like somebody else's lines.
func (s *screen) indent(label string) int {
	if !s.chat() {
		return 0
	}
	width, _ := s.size()
	return min(textWidth(label), width/2)
}

// freshLine ends a row that has been written on.
func (s *screen) freshLine() {
	if s.column > 0 {
		s.buffer = append(s.buffer, '\r', '\n')
	}
	s.column, s.open, s.mine, s.filled = 0, false, false, false
}

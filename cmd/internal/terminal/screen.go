package terminal

import (
	"fmt"
	"io"
	"strings"
)

// A screen is a terminal that shows received text while a line is typed. The input line
// is always the last one. The screen erases it before it writes anything else, and
// draws it again below.
//
// In a chat, lines have names before them. There the input line has its own row, even
// while a line of the peer is incomplete. Without names the input line follows the
// peer's text directly, as after a server's prompt.
//
// Each method writes its output in one write, so that no part of it is visible alone.
type screen struct {
	style
	out     io.Writer
	notices io.Writer // stderr, which may be the same terminal
	size    func() (columns, rows int)
	typing  bool // there is an input line; without it the screen only prints

	sanitizer  Sanitizer
	column     int  // the column where the text above the input line ends
	onPeerLine bool // that text ends within a line of the peer
	onOwnLine  bool // that text ends within one of the user's own lines
	rowFull    bool // that text fills its last row, and the cursor is on the next row

	line  string // the typed text, safe to print
	input inputLine

	buffer []byte // the output of the current method
}

// hasNames reports whether lines have names before them.
func (s *screen) hasNames() bool { return s.peer != "" }

// showPeerText shows text of the peer.
func (s *screen) showPeerText(p []byte) error {
	s.print(string(s.sanitizer.Append(nil, p)))
	return s.flush()
}

// edit shows the typed text.
func (s *screen) edit(line []byte) error {
	s.line = string(Sanitize(line))
	s.drawInput()
	return s.flush()
}

// commitInput turns the input line into a sent line. The rest of a line that was sent
// in parts follows on the same line.
func (s *screen) commitInput(line []byte) error {
	said, whole := strings.CutSuffix(string(line), "\n")
	s.eraseInput()
	if s.column > 0 && !s.onOwnLine && s.hasNames() {
		s.freshLine()
	}
	if s.column == 0 {
		s.writeLabel(ownColour, s.own)
	}
	p := s.newPainter(s.own)
	s.buffer = p.write(s.buffer, string(Sanitize([]byte(said))))
	s.column, s.onOwnLine, s.onPeerLine, s.rowFull = p.column, true, false, false
	if whole {
		s.freshLine()
	}
	s.line = ""
	s.drawInput()
	return s.flush()
}

// notice writes a line about the connection to stderr. An error of this write does not
// end the connection.
func (s *screen) notice(text string) error {
	s.eraseInput()
	s.freshLine()
	if err := s.flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.notices, "%s\n", strings.Join(strings.Fields(string(Sanitize([]byte(text)))), " "))
	s.drawInput()
	return s.flush()
}

// close shows the held-back text of the peer. It removes the input line and leaves the
// cursor at the start of a line.
func (s *screen) close() error {
	s.print(string(s.sanitizer.Flush(nil)))
	s.suspend()
	s.typing = false
	return s.flush()
}

// suspend removes the input line until resume, so that another program can write.
func (s *screen) suspend() error {
	s.eraseInput()
	s.freshLine()
	return s.flush()
}

// resume draws the input line again.
func (s *screen) resume() error {
	s.drawInput()
	return s.flush()
}

// resized draws the input line again for a new width.
func (s *screen) resized() error {
	s.eraseInput()
	s.drawInput()
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

// print appends safe text of the peer to the text above the input line.
func (s *screen) print(text string) {
	if text == "" {
		return
	}
	s.eraseInput()
	if s.onOwnLine {
		s.freshLine()
	}
	for line := range strings.Lines(text) {
		content, whole := strings.CutSuffix(line, "\n")
		switch {
		case s.hasNames() && !s.onPeerLine:
			s.freshLine()
			s.writeLabel(peerColour, s.peer)
		case s.rowFull && content != "":
			indent := s.indent(s.peer)
			s.buffer = append(s.buffer, strings.Repeat(" ", indent)...)
			s.column = indent
		}
		p := s.newPainter(s.peer)
		s.buffer = p.write(s.buffer, content)
		s.column, s.onPeerLine = p.column, true
		if content != "" {
			s.rowFull = false
		}
		switch {
		case whole && s.rowFull: // the end of the row has ended the line
			s.column, s.onPeerLine, s.rowFull = 0, false, false
		case whole:
			s.buffer = append(s.buffer, '\r', '\n')
			s.column, s.onPeerLine = 0, false
		}
	}
	s.drawInput()
}

// writeLabel writes the name before a line.
func (s *screen) writeLabel(colour, text string) {
	s.buffer = append(s.buffer, s.style.colourize(colour, text)...)
	s.column, s.rowFull = textWidth(text), false
}

// newPainter returns a painter for text above the input line. label is the name before
// the line.
func (s *screen) newPainter(label string) painter {
	width, _ := s.size()
	return painter{width: width, column: s.column, indent: s.indent(label)}
}

// indent returns the free columns of continuation rows in a chat. Without them a peer
// could make a continuation row look like another person's line.
func (s *screen) indent(label string) int {
	if !s.hasNames() {
		return 0
	}
	width, _ := s.size()
	return min(textWidth(label), width/2)
}

// freshLine moves to the start of a row, unless the cursor is there.
func (s *screen) freshLine() {
	if s.column > 0 {
		s.buffer = append(s.buffer, '\r', '\n')
	}
	s.column, s.onPeerLine, s.onOwnLine, s.rowFull = 0, false, false, false
}

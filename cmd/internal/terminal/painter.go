package terminal

import (
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

const tabStop = 8

// cellWidths knows the width of each character in cells. A character of ambiguous width
// counts as one cell, as in every terminal with default settings.
var cellWidths = runewidth.Condition{StrictEmojiNeutral: true}

// A painter writes safe text and tracks the position of the cursor. It cannot ask the
// terminal for the position, because the answer would arrive as typed input.
type painter struct {
	width  int // columns of the screen
	column int // from 0; equal to width when the last column was just written
	row    int // rows below the painter's first row
	indent int // free columns on the continuation rows of a long line
}

// write appends text to dst. It writes newlines as CR LF, so that it does not matter
// whether the terminal adds the CR.
func (p *painter) write(dst []byte, text string) []byte {
	for _, r := range text {
		switch r {
		case '\n':
			dst = append(dst, '\r', '\n')
			p.column, p.row = 0, p.row+1
		case '\t':
			// A tab is written as spaces, because a real tab never leaves the last
			// column.
			next := min((p.column/tabStop+1)*tabStop, p.width)
			if p.column >= p.width {
				next = p.width + 1
			}
			for range next - p.column {
				dst = p.writeCell(dst, ' ', 1)
			}
		default:
			dst = p.writeCell(dst, r, cellWidths.RuneWidth(r))
		}
	}
	return dst
}

func (p *painter) writeCell(dst []byte, r rune, w int) []byte {
	if p.column+w > p.width && w > 0 {
		p.row++
		p.column = 0
		if p.indent > 0 {
			dst = append(dst, '\r', '\n')
			dst = append(dst, strings.Repeat(" ", p.indent)...)
			p.column = p.indent
		}
		// Without an indent the terminal wraps the line itself. It then knows that the
		// rows are one line when a user copies them.
	}
	p.column += w
	return utf8.AppendRune(dst, r)
}

// forceWrap moves a cursor that waits behind the last column to the next row. Terminals
// differ in that state, so forceWrap makes them wrap.
func (p *painter) forceWrap(dst []byte) []byte {
	if p.column < p.width {
		return dst
	}
	p.column, p.row = 0, p.row+1
	return append(dst, ' ', '\r')
}

// textWidth returns the width of a text of one row in cells.
func textWidth(text string) int {
	p := painter{width: 1 << 30}
	p.write(nil, text)
	return p.column
}

// lastCells returns the end of text, at most n cells wide.
func lastCells(text string, n int) string {
	used := 0
	for i := len(text); i > 0; {
		r, size := utf8.DecodeLastRuneInString(text[:i])
		w := cellWidths.RuneWidth(r)
		if r == '\t' {
			w = tabStop
		}
		if used += w; used > n {
			return text[i:]
		}
		i -= size
	}
	return text
}

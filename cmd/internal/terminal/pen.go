package terminal

import (
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

const tabStop = 8

// cells knows how many cells a character takes. Ambiguous characters take one,
// as in every terminal that is not set up otherwise.
var cells = runewidth.Condition{StrictEmojiNeutral: true}

// A pen writes safe text and keeps account of where the cursor is: the terminal
// cannot be asked, because its answer would arrive as typed input.
type pen struct {
	width  int // columns of the screen
	column int // from 0; equal to width when the last column was just written
	row    int // rows below the one where the pen was put down
	indent int // columns left free on rows that a long line goes on to
}

// put appends text to dst. Newlines are written as CR LF, so that it does not
// matter whether the terminal adds the CR.
func (p *pen) put(dst []byte, text string) []byte {
	for _, r := range text {
		switch r {
		case '\n':
			dst = append(dst, '\r', '\n')
			p.column, p.row = 0, p.row+1
		case '\t':
			// Written as spaces: a tab never leaves the last column.
			next := min((p.column/tabStop+1)*tabStop, p.width)
			if p.column >= p.width {
				next = p.width + 1
			}
			for range next - p.column {
				dst = p.cell(dst, ' ', 1)
			}
		default:
			dst = p.cell(dst, r, cells.RuneWidth(r))
		}
	}
	return dst
}

func (p *pen) cell(dst []byte, r rune, w int) []byte {
	if p.column+w > p.width && w > 0 {
		p.row++
		p.column = 0
		if p.indent > 0 {
			dst = append(dst, '\r', '\n')
			dst = append(dst, strings.Repeat(" ", p.indent)...)
			p.column = p.indent
		}
		// Without an indent the terminal wraps by itself, and knows then that
		// the rows are one line when somebody copies it.
	}
	p.column += w
	return utf8.AppendRune(dst, r)
}

// settle moves a cursor that waits behind the last column to the next row,
// where terminals differ, by making them wrap.
func (p *pen) settle(dst []byte) []byte {
	if p.column < p.width {
		return dst
	}
	p.column, p.row = 0, p.row+1
	return append(dst, ' ', '\r')
}

// textWidth returns how many cells a text of one row takes.
func textWidth(text string) int {
	p := pen{width: 1 << 30}
	p.put(nil, text)
	return p.column
}

// tail returns the end of text that takes at most n cells.
func tail(text string, n int) string {
	used := 0
	for i := len(text); i > 0; {
		r, size := utf8.DecodeLastRuneInString(text[:i])
		w := cells.RuneWidth(r)
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

package terminal

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxTyped is how long a typed line may get, in bytes, before what is there is
// sent without waiting for its end.
const maxTyped = 64 << 10

// An editor does what the kernel's line editing does, with the user's own keys
// (stty erase, kill, werase, eof, lnext, reprint), for a terminal whose own is
// off. It decides and never reads or writes.
type editor struct {
	keys  [19]uint8 // c_cc of the terminal
	line  []byte
	quote bool // the next byte is taken as it is (lnext)
	esc   escapeState
}

// escapeState is how far an escape sequence of a function key has come. Such
// keys have no meaning here, and their sequences are dropped.
type escapeState int

const (
	noEscape   escapeState = iota
	escape                 // ESC seen
	csi                    // ESC [ seen: parameters until a byte from @ to ~
	singleByte             // ESC O seen: one more byte
)

// action is what one byte of typing asks for.
type action int

const (
	edited  action = iota // the line may have changed
	entered               // send the line, which includes its newline
	pushed                // send the line as it is; more of it is to come
	endOfInput
)

func (e *editor) is(key int, c byte) bool {
	const disabled = 0 // _POSIX_VDISABLE
	return e.keys[key] != disabled && e.keys[key] == c
}

// key takes one byte of typing.
func (e *editor) key(c byte) action {
	switch {
	case e.quote:
		e.quote = false
		return e.insert(c)
	case e.esc != noEscape:
		e.escapeByte(c)
	case e.is(unix.VLNEXT, c):
		e.quote = true
	case c == '\n', e.is(unix.VEOL, c), e.is(unix.VEOL2, c):
		e.line = append(e.line, c)
		return entered
	case e.is(unix.VEOF, c):
		if len(e.line) == 0 {
			return endOfInput
		}
		return pushed
	case e.is(unix.VERASE, c), c == 0x7f, c == '\b':
		// Terminals disagree on which of the two the key sends.
		e.erase()
	case e.is(unix.VWERASE, c):
		e.eraseWord()
	case e.is(unix.VKILL, c):
		e.line = e.line[:0]
	case e.is(unix.VREPRINT, c):
	case c == 0x1b:
		e.esc = escape
	default:
		return e.insert(c)
	}
	return edited
}

func (e *editor) insert(c byte) action {
	e.line = append(e.line, c)
	if len(e.line) >= maxTyped {
		return pushed
	}
	return edited
}

func (e *editor) escapeByte(c byte) {
	switch {
	case e.esc == escape && c == '[':
		e.esc = csi
	case e.esc == escape && c == 'O':
		e.esc = singleByte
	case e.esc == escape && c == 0x1b:
	case e.esc == csi && (c < '@' || c > '~'):
	default:
		e.esc = noEscape
	}
}

// erase removes the last character with its combining marks.
func (e *editor) erase() {
	for len(e.line) > 0 {
		r, size := utf8.DecodeLastRune(e.line)
		e.line = e.line[:len(e.line)-size]
		if !unicode.Is(unicode.M, r) {
			return
		}
	}
}

func (e *editor) eraseWord() {
	e.line = bytes.TrimRightFunc(e.line, unicode.IsSpace)
	e.line = bytes.TrimRightFunc(e.line, func(r rune) bool { return !unicode.IsSpace(r) })
}

// take returns the line to be sent and starts the next one.
func (e *editor) take() []byte {
	line := e.line
	e.line = nil
	return line
}

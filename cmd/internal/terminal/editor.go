package terminal

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxInputLine is the maximum length of a typed line, in bytes. A longer line is sent
// in parts.
const maxInputLine = 64 << 10

// An editor does the work of the kernel's line editing while that is off. It uses the
// user's own keys (stty erase, kill, werase, eof, lnext, reprint). It never reads or
// writes.
type editor struct {
	keys        [19]uint8 // c_cc of the terminal
	line        []byte
	literalNext bool // the next byte is taken literally (lnext)
	esc         escapeState
}

// escapeState is the progress in an escape sequence of a function key. Such keys have
// no meaning here, and their sequences are dropped.
type escapeState int

const (
	noEscape   escapeState = iota
	escape                 // ESC seen
	csi                    // ESC [ seen: parameters until a byte from @ to ~
	singleByte             // ESC O seen: one more byte
)

// action is the result of one typed byte.
type action int

const (
	actionEdit     action = iota // the line may have changed
	actionSendLine               // send the line with its newline
	actionSendPart               // send the line without a newline; more of it follows
	actionEOF
)

func (e *editor) isKey(key int, c byte) bool {
	const disabled = 0 // _POSIX_VDISABLE
	return e.keys[key] != disabled && e.keys[key] == c
}

// handleByte handles one typed byte.
func (e *editor) handleByte(c byte) action {
	switch {
	case e.literalNext:
		e.literalNext = false
		return e.insert(c)
	case e.esc != noEscape:
		e.escapeByte(c)
	case e.isKey(unix.VLNEXT, c):
		e.literalNext = true
	case c == '\n', e.isKey(unix.VEOL, c), e.isKey(unix.VEOL2, c):
		e.line = append(e.line, c)
		return actionSendLine
	case e.isKey(unix.VEOF, c):
		if len(e.line) == 0 {
			return actionEOF
		}
		return actionSendPart
	case e.isKey(unix.VERASE, c), c == 0x7f, c == '\b':
		// Terminals send one or the other for the erase key.
		e.erase()
	case e.isKey(unix.VWERASE, c):
		e.eraseWord()
	case e.isKey(unix.VKILL, c):
		e.line = e.line[:0]
	case e.isKey(unix.VREPRINT, c):
	case c == 0x1b:
		e.esc = escape
	default:
		return e.insert(c)
	}
	return actionEdit
}

func (e *editor) insert(c byte) action {
	e.line = append(e.line, c)
	if len(e.line) >= maxInputLine {
		return actionSendPart
	}
	return actionEdit
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

// takeLine returns the line and starts the next one.
func (e *editor) takeLine() []byte {
	line := e.line
	e.line = nil
	return line
}

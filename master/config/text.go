package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// A fileText is the text of a configuration file, with the places in it. The
// parser counts columns in bytes; people and their editors count characters.
type fileText struct {
	file  string
	bytes []byte
	lines []int // where each line begins
}

// byteOrderMark is U+FEFF in UTF-8. Some editors put it in front of a text. TOML
// does not allow it (toml.io, v1.0.0), and it means nothing there.
const byteOrderMark = "\ufeff"

// newFileText returns the text of a file without its byte-order mark. An error
// is of type ConfigErrors.
func newFileText(file string, text []byte) (*fileText, error) {
	t := &fileText{file: file, bytes: bytes.TrimPrefix(text, []byte(byteOrderMark)), lines: []int{0}}
	if isUTF16(text) {
		return nil, ConfigErrors{{t.position(0), "not valid TOML: the text is in UTF-16, and must be in UTF-8"}}
	}
	for i, b := range t.bytes {
		if b == '\n' {
			t.lines = append(t.lines, i+1)
		}
	}
	return t, nil
}

// isUTF16 reports whether a text begins with the byte-order mark of UTF-16, in
// either order. Neither of the two bytes occurs in UTF-8.
func isUTF16(text []byte) bool {
	return bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff})
}

// position returns the place of a byte.
func (t *fileText) position(offset int) Position {
	offset = min(offset, len(t.bytes))
	line, found := slices.BinarySearch(t.lines, offset)
	if !found {
		line--
	}
	column := 1 + utf8.RuneCount(t.bytes[t.lines[line]:offset])
	return Position{File: t.file, Line: line + 1, Column: column}
}

// syntaxError returns an error of the parser with its place in the file.
func (t *fileText) syntaxError(err error) error {
	offset := 0
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		offset = min(t.lines[min(line, len(t.lines))-1]+column-1, len(t.bytes))
	}
	text := t.withCharacter(strings.TrimPrefix(err.Error(), "toml: "), offset)
	return ConfigErrors{{t.position(offset), "not valid TOML: " + strings.Map(oneLine, text)}}
}

// codePoint is how the parser writes a byte that it did not expect (%#U).
var codePoint = regexp.MustCompile(`U\+00[8-9A-F][0-9A-F]( '.')?`)

// withCharacter corrects the message of an error at a place. The parser takes a
// byte for a character, which is wrong outside of ASCII: it names U+00E2 where the
// file has U+201C, a quotation mark. And it does not name every character,
// although some, such as U+00A0, cannot be told from others by their looks.
func (t *fileText) withCharacter(message string, offset int) string {
	if found := codePoint.FindString(message); found != "" {
		value, err := strconv.ParseUint(found[len("U+"):len("U+00FF")], 16, 8)
		// An error about an escape sequence is at its backslash.
		for at := offset; err == nil && at <= offset+1 && at < len(t.bytes); at++ {
			if uint64(t.bytes[at]) == value {
				return strings.Replace(message, found, character(t.bytes[at:]), 1)
			}
		}
		return message
	}
	if strings.HasPrefix(message, "expected ") && offset < len(t.bytes) && t.bytes[offset] >= utf8.RuneSelf {
		return message + ", found " + character(t.bytes[offset:])
	}
	return message
}

// character describes the first character of a text.
func character(text []byte) string {
	r, size := utf8.DecodeRune(text)
	if r == utf8.RuneError && size <= 1 {
		return fmt.Sprintf("the byte 0x%02X, which is not UTF-8", text[0])
	}
	return fmt.Sprintf("%#U", r)
}

// oneLine replaces a character that would break the message into lines, or that
// a terminal would take for a command.
func oneLine(r rune) rune {
	if !strconv.IsPrint(r) {
		return '.'
	}
	return r
}

// quoted quotes a string for a message. It cuts a long one, between characters.
func quoted(s string) string {
	const limit = 80
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:end], len(s))
}

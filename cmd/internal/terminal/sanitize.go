package terminal

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// maxMarks is how many combining marks in a row are shown. No script needs as
// many; stacks of hundreds are made to cover the lines above.
const maxMarks = 16

// A Sanitizer turns bytes from the network into text that is safe to print. Its
// zero value is ready for use. What comes out is UTF-8 that holds graphic
// characters, newlines and tabs only, the same however the input was cut into
// pieces. Everything else is shown, not dropped:
//
//	^[ ^G ^M ^?     control characters; CR LF is a newline, a CR alone is ^M
//	\x9b            bytes that are not UTF-8, among them the 8-bit C1 controls
//	\u{9b}          C1 controls as UTF-8, and what changes the order or the
//	                place of other text, is invisible, or has no meaning yet
//
// Text is not escaped twice: a peer may well send the four characters \x9b. The
// promise is that a terminal does nothing but print, not that the bytes can be
// told from what is shown.
type Sanitizer struct {
	partial []byte // the beginning of a character, not yet complete
	cr      bool   // a carriage return that may be half of a CR LF
	marks   int    // combining marks since the last other character
}

// Append appends p in its safe form to dst.
func (s *Sanitizer) Append(dst, p []byte) []byte {
	if len(s.partial) > 0 {
		p = append(s.partial, p...)
		s.partial = nil
	}
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			s.partial = append([]byte(nil), p...)
			return dst
		}
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			dst = s.endCR(dst)
			dst = fmt.Appendf(dst, `\x%02x`, p[0])
			s.marks = 0
		} else {
			dst = s.append(dst, r)
		}
		p = p[size:]
	}
	return dst
}

// Flush appends what was held back, for the end of the stream.
func (s *Sanitizer) Flush(dst []byte) []byte {
	dst = s.endCR(dst)
	for _, c := range s.partial {
		dst = fmt.Appendf(dst, `\x%02x`, c)
	}
	*s = Sanitizer{}
	return dst
}

func (s *Sanitizer) endCR(dst []byte) []byte {
	if s.cr {
		s.cr = false
		dst = append(dst, "^M"...)
	}
	return dst
}

func (s *Sanitizer) append(dst []byte, r rune) []byte {
	if r == '\n' {
		s.cr, s.marks = false, 0
		return append(dst, '\n')
	}
	dst = s.endCR(dst)
	if r == '\r' {
		s.cr = true
		return dst
	}
	if unicode.Is(unicode.M, r) {
		if s.marks++; s.marks > maxMarks {
			return fmt.Appendf(dst, `\u{%x}`, r)
		}
		return utf8.AppendRune(dst, r)
	}
	s.marks = 0
	switch {
	case r == '\t':
		return append(dst, '\t')
	case r < 0x20 || r == 0x7f:
		return append(dst, '^', byte(r)^0x40)
	case harmless(r):
		return utf8.AppendRune(dst, r)
	}
	return fmt.Appendf(dst, `\u{%x}`, r)
}

// harmless reports whether a terminal prints r where it stands and does
// nothing else. The two joiners are invisible but belong to the spelling of
// several languages and of many emoji; the other format characters of Unicode
// reorder text or hide in it.
func harmless(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner
}

// Safe returns a whole text in its safe form.
func Safe(text []byte) []byte {
	var s Sanitizer
	return s.Flush(s.Append(nil, text))
}

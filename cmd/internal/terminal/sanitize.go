package terminal

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// maxMarks is the maximum number of combining marks in a row that are shown. No script
// needs as many. Stacks of hundreds of marks would cover the lines above.
const maxMarks = 16

// A Sanitizer converts bytes from the network to text that is safe to print. Its zero
// value is ready for use. The output is UTF-8 with graphic characters, newlines and
// tabs only. It does not depend on how the input is cut into pieces. Everything else is
// shown in another form, not dropped:
//
//	^[ ^G ^M ^?     control characters; CR LF is a newline, a CR alone is ^M
//	\x9b            bytes that are not UTF-8, among them the 8-bit C1 controls
//	\u{9b}          C1 controls as UTF-8, and characters that change the order or
//	                place of other text, are invisible, or have no meaning yet
//
// Text is not escaped twice: a peer may send the four characters \x9b. The guarantee is
// that a terminal only prints. The original bytes cannot always be told from the
// output.
type Sanitizer struct {
	partial []byte // the first bytes of an incomplete character
	cr      bool   // the last byte was a carriage return, perhaps half of a CR LF
	marks   int    // combining marks since the last other character
}

// Append appends the safe form of p to dst.
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

// Flush appends the held-back bytes at the end of the stream.
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
	case isSafe(r):
		return utf8.AppendRune(dst, r)
	}
	return fmt.Appendf(dst, `\u{%x}`, r)
}

// isSafe reports whether a terminal only prints r where it stands. The two joiners are
// invisible, but they belong to the spelling of several languages and of many emoji.
// The other format characters of Unicode reorder or hide text.
func isSafe(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner
}

// Sanitize returns the safe form of a whole text.
func Sanitize(text []byte) []byte {
	var s Sanitizer
	return s.Flush(s.Append(nil, text))
}

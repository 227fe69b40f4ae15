package terminal

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSanitizer(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"plain text, ünïcödé, 日本語, 👍🏽, 👨‍👩‍👧\n\tx\n", "plain text, ünïcödé, 日本語, 👍🏽, 👨‍👩‍👧\n\tx\n"},
		{"\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"},
		{"\x00\x08\x7f", "^@^H^?"},
		{"line\r\nnext\r\n", "line\nnext\n"},
		{"100%\rfake", "100%^Mfake"},
		{"\r\r\n", "^M\n"},
		{"\r", "^M"},
		{"\x9b31m", `\x9b31m`},                     // CSI as an 8-bit C1 control
		{"\u009b31m", `\u{9b}31m`},                 // and as UTF-8
		{"\xff\xc3(\xe2\x82", `\xff\xc3(\xe2\x82`}, // not UTF-8
		{"\xed\xa0\x80", `\xed\xa0\x80`},           // a surrogate
		{"abc\u202edef", `abc\u{202e}def`},         // right-to-left override
		{"zero\u200bwidth\ufeff", `zero\u{200b}width\u{feff}`},
		{"a\u2028b", `a\u{2028}b`},
		{"\ufffd", "\ufffd"},
		{"e" + strings.Repeat("\u0301", maxMarks+1), "e" + strings.Repeat("\u0301", maxMarks) + `\u{301}`},
	} {
		if got := string(Sanitize([]byte(c.in))); got != c.out {
			t.Errorf("%q became %q, want %q", c.in, got, c.out)
		}
	}
}

// The output only prints on a terminal, whatever the input is. It is the same for every
// cut, and safe text is not changed.
func FuzzSanitizer(f *testing.F) {
	f.Add([]byte("hello\r\nworld\r"), uint(1))
	f.Add([]byte("\x1b[31m\xc2\x9b\xe2\x82"), uint(2))
	f.Add([]byte("日本\u202e語e\u0301\u0301\xf0\x9f"), uint(0))
	f.Fuzz(func(t *testing.T, in []byte, size uint) {
		whole := string(Sanitize(in))
		if !utf8.ValidString(whole) {
			t.Fatalf("%q became %q, which is not UTF-8", in, whole)
		}
		for _, r := range whole {
			if r != '\n' && r != '\t' && (unicode.IsControl(r) || !isSafe(r)) {
				t.Fatalf("%q became %q, which holds %U", in, whole, r)
			}
		}
		var s Sanitizer
		var out []byte
		for _, p := range cut(in, size) {
			out = s.Append(out, []byte(p))
		}
		if out = s.Flush(out); string(out) != whole {
			t.Fatalf("in pieces %q became %q, in one %q", in, out, whole)
		}
		if again := string(Sanitize([]byte(whole))); again != whole {
			t.Fatalf("%q is safe and was changed to %q", whole, again)
		}
	})
}

package terminal

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// usualKeys are the default keys of a terminal.
func usualKeys() (keys [19]uint8) {
	keys[unix.VERASE], keys[unix.VKILL], keys[unix.VWERASE] = 0x7f, 'U'-'@', 'W'-'@'
	keys[unix.VEOF], keys[unix.VLNEXT], keys[unix.VREPRINT] = 'D'-'@', 'V'-'@', 'R'-'@'
	return keys
}

// typed returns what is sent after some typing, one string per part, with "EOF" for the
// end of input. It also returns the text that is left on the line.
func typed(typing string) (sent []string, left string) {
	e := editor{keys: usualKeys()}
	for _, c := range []byte(typing) {
		switch e.handleByte(c) {
		case actionSendLine, actionSendPart:
			sent = append(sent, string(e.takeLine()))
		case actionEOF:
			sent = append(sent, "EOF")
		}
	}
	return sent, string(e.line)
}

func TestEditor(t *testing.T) {
	for _, c := range []struct {
		typing, sent, left string
	}{
		{"hello\nworld\n", "hello\n|world\n", ""},
		{"hellp\x7fo\n", "hello\n", ""},
		{"hellp\bo\n", "hello\n", ""},
		{"\x7f\x7fa\n", "a\n", ""},
		{"日本\x7f\n", "日\n", ""},
		{"e\u0301\x7f", "", ""},
		{"ab\xff\x7f", "", "ab"},
		{"one two  three \x17x", "", "one two  x"},
		{"one\u00a0two\x17", "", "one\u00a0"},
		{"all of it\x15new", "", "new"},
		{"\x04", "EOF", ""},
		{"half\x04", "half", ""},
		{"half\x04\x04", "half|EOF", ""},
		{"\x16\x04\x16\x1b\n", "\x04\x1b\n", ""},
		{"up\x1b[A\x1b[1;5D\x1bOP\x1bx!\n", "up!\n", ""},
		{"a\x12b\n", "ab\n", ""},
		{"tab\there\n", "tab\there\n", ""},
		{"\x00\n", "\x00\n", ""},
	} {
		sent, left := typed(c.typing)
		if got := strings.Join(sent, "|"); got != c.sent || left != c.left {
			t.Errorf("%q: sent %q and left %q; want %q and %q", c.typing, got, left, c.sent, c.left)
		}
	}
}

// The kernel drops the part of a line beyond 4095 bytes. The editor drops nothing.
func TestEditorLongLine(t *testing.T) {
	line := strings.Repeat("0123456789", 3*maxInputLine/10) + "\n"
	sent, left := typed(line)
	if strings.Join(sent, "") != line || left != "" {
		t.Errorf("a line of %d bytes was sent as %d, and %d are left", len(line), len(strings.Join(sent, "")), len(left))
	}
}

// A line has a maximum length, whatever is typed. A complete line ends with an
// end-of-line character.
func FuzzEditor(f *testing.F) {
	f.Add("hello\n\x04")
	f.Add("\x16\x1b[A\x1b\x1b[")
	f.Add("\x16\n\x04")
	f.Add("日\x7f\x17\x15")
	f.Fuzz(func(t *testing.T, typing string) {
		e := editor{keys: usualKeys()}
		for _, c := range []byte(typing) {
			switch a := e.handleByte(c); a {
			case actionSendLine, actionSendPart:
				line := e.takeLine()
				// A line that is sent in parts may also end in a quoted newline.
				if len(line) == 0 || len(line) > maxInputLine || a == actionSendLine && !strings.HasSuffix(string(line), "\n") {
					t.Fatalf("sent %q", line)
				}
			case actionEOF:
				if len(e.line) > 0 {
					t.Fatalf("input ended within %q", e.line)
				}
			}
		}
	})
}

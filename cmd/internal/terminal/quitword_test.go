package terminal

import (
	"bytes"
	"testing"
)

// scanAll scans the pieces of a stream and returns the bytes to send.
func scanAll(pieces ...string) (sent string, quit bool) {
	var s QuitScanner
	var out []byte
	for _, p := range pieces {
		if out, quit = s.Scan(out, []byte(p)); quit {
			return string(out), true
		}
	}
	return string(s.Flush(out)), false
}

func TestQuitScanner(t *testing.T) {
	for _, c := range []struct {
		pieces []string
		sent   string
		quit   bool
	}{
		{[]string{"q\n"}, "", true},
		{[]string{"Q\n"}, "", true},
		{[]string{"hello\nq\nlost"}, "hello\n", true},
		{[]string{"hello\n", "q", "\n", "lost"}, "hello\n", true},
		{[]string{"hello", "\n", "Q", "", "\nlost"}, "hello\n", true},
		{[]string{"quit\n"}, "quit\n", false},
		{[]string{"q", "uit\n"}, "quit\n", false},
		{[]string{"qq\n", "q q\n", " q\n", "q \n", "q\r\n"}, "qq\nq q\n q\nq \nq\r\n", false},
		{[]string{"faq", "\n"}, "faq\n", false},
		{[]string{"\n\nq\n"}, "\n\n", true},
		{[]string{"q"}, "q", false},
		{[]string{"a\nq"}, "a\nq", false},
		{[]string{"q", "q\n"}, "qq\n", false},
		{nil, "", false},
	} {
		sent, quit := scanAll(c.pieces...)
		if sent != c.sent || quit != c.quit {
			t.Errorf("%q: sent %q, quit %v; want %q, %v", c.pieces, sent, quit, c.sent, c.quit)
		}
	}
}

// The result does not depend on how a stream is cut. Everything before the first line
// that is exactly q or Q is sent.
func FuzzQuitScanner(f *testing.F) {
	f.Add([]byte("hello\nq\nmore"), uint(3))
	f.Add([]byte("q"), uint(1))
	f.Add([]byte("qq\nQ\n"), uint(2))
	f.Add([]byte("\n\n\nQ\n\n"), uint(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint) {
		want, wantQuit := stream, false
		for rest, at := stream, 0; ; {
			line, after, complete := bytes.Cut(rest, []byte("\n"))
			if complete && (string(line) == "q" || string(line) == "Q") {
				want, wantQuit = stream[:at], true
				break
			}
			if !complete {
				break
			}
			at += len(line) + 1
			rest = after
		}
		sent, quit := scanAll(cut(stream, size)...)
		if sent != string(want) || quit != wantQuit {
			t.Fatalf("sent %q, quit %v; want %q, %v", sent, quit, want, wantQuit)
		}
	})
}

// cut cuts a stream into pieces of a given size.
func cut(stream []byte, size uint) []string {
	n := int(size%64) + 1
	var pieces []string
	for len(stream) > n {
		pieces = append(pieces, string(stream[:n]))
		stream = stream[n:]
	}
	return append(pieces, string(stream))
}

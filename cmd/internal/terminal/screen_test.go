package terminal

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hinshun/vt10x"
	"github.com/preforkd/preforkd/cmd/internal/windowtest"
)

// A testScreen is a screen on an emulated terminal.
type testScreen struct {
	screen
	vt     vt10x.Terminal
	record strings.Builder // every byte written
}

func newTestScreen(columns, rows int, chat bool, env ...string) *testScreen {
	s := &testScreen{vt: vt10x.New(vt10x.WithSize(columns, rows))}
	own, peer := "> ", ""
	if chat {
		own, peer = "you> ", "peer> "
	}
	s.style = newStyle(own, peer, func(key string) string {
		for _, kv := range env {
			if value, ok := strings.CutPrefix(kv, key+"="); ok {
				return value
			}
		}
		return ""
	})
	s.out, s.notices = s, s
	s.size = func() (int, int) { return columns, rows }
	s.typing = true
	s.resume()
	return s
}

// Write acts as the terminal. The kernel adds the CR that notices lack.
func (s *testScreen) Write(p []byte) (int, error) {
	s.record.Write(p)
	if s.vt == nil {
		return len(p), nil
	}
	s.vt.Write([]byte(strings.ReplaceAll(strings.ReplaceAll(string(p), "\r\n", "\n"), "\n", "\r\n")))
	return len(p), nil
}

// rows returns the rows of the screen, without trailing blanks and trailing empty rows.
func (s *testScreen) rows() []string { return screenRows(s.vt) }

func screenRows(vt vt10x.Terminal) []string {
	rows := windowtest.RowsOf(vt)
	for len(rows) > 0 && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

func (s *testScreen) want(t *testing.T, want ...string) {
	t.Helper()
	if got := s.rows(); !slices.Equal(got, want) {
		t.Errorf("the screen shows\n\t%s\nwant\n\t%s\nwritten: %q",
			strings.Join(got, "\n\t"), strings.Join(want, "\n\t"), s.record.String())
	}
}

func TestScreenKeepsTypedLine(t *testing.T) {
	s := newTestScreen(20, 6, true)
	s.edit([]byte("hello wor"))
	s.showPeerText([]byte("one\ntw"))
	s.want(t, "peer> one", "peer> tw", "you> hello wor")
	s.showPeerText([]byte("o\n"))
	s.edit([]byte("hello world, it is a long line"))
	s.showPeerText([]byte("three\n"))
	s.want(t, "peer> one", "peer> two", "peer> three", "you> hello world, it", " is a long line")
	s.commitInput([]byte("hello world, it is a long line\n"))
	s.want(t, "peer> one", "peer> two", "peer> three", "you> hello world, it", "      is a long line", "you>")
	s.notice("a notice")
	s.want(t, "peer> two", "peer> three", "you> hello world, it", "      is a long line", "a notice", "you>")
	s.close()
	s.want(t, "peer> two", "peer> three", "you> hello world, it", "      is a long line", "a notice")
}

func TestScreenPrompt(t *testing.T) {
	s := newTestScreen(20, 6, false)
	s.showPeerText([]byte("login: "))
	s.edit([]byte("me"))
	s.want(t, "login: me")
	s.showPeerText([]byte("\nagain: "))
	s.want(t, "login:", "again: me")
	s.commitInput([]byte("me\n"))
	s.want(t, "login:", "again: me", ">")
}

// A line of the peer that is as wide as the screen takes one row, not two.
func TestScreenExactWidth(t *testing.T) {
	for _, chat := range []bool{false, true} {
		s := newTestScreen(20, 8, chat)
		line := strings.Repeat("x", 20-len(s.peer))
		s.showPeerText([]byte(line))
		s.edit([]byte("abc"))
		s.showPeerText([]byte("\nnext\n"))
		s.want(t, s.peer+line, s.peer+"next", s.own+"abc")
	}
}

// The continuation of a peer's long line cannot look like another line.
func TestScreenForgedLine(t *testing.T) {
	s := newTestScreen(20, 6, true)
	s.showPeerText([]byte(strings.Repeat(" ", 20-len("peer> ")) + "you> I agree\n"))
	for _, row := range s.rows()[:2] {
		if strings.HasPrefix(row, "you>") {
			t.Errorf("a row reads %q", row)
		}
	}
}

func TestScreenDumb(t *testing.T) {
	for _, chat := range []bool{false, true} {
		s := newTestScreen(20, 6, chat, "TERM=dumb")
		s.edit([]byte("hello wor"))
		s.showPeerText([]byte("one\n"))
		s.showPeerText([]byte("tw"))
		s.showPeerText([]byte("o\n"))
		s.edit([]byte("hello world, this is long"))
		if rows := s.rows(); !strings.HasSuffix(rows[len(rows)-1], "is long") {
			t.Errorf("the end of a long line is not shown: %q", rows)
		}
		s.commitInput([]byte("hello world\n"))
		rows := s.rows()
		if got := rows[len(rows)-2]; got != s.own+"hello world" {
			t.Errorf("the line sent is shown as %q", got)
		}
		if strings.Contains(s.record.String(), "\x1b") {
			t.Errorf("a dumb terminal got an escape sequence: %q", s.record.String())
		}
	}
}

func TestScreenColour(t *testing.T) {
	s := newTestScreen(40, 6, true, "TERM=xterm")
	s.showPeerText([]byte("hi\n"))
	if got := s.record.String(); !strings.Contains(got, peerColour+"peer> "+resetStyle) || !strings.Contains(got, ownColour+"you> "+resetStyle) {
		t.Errorf("the names are not in colour: %q", got)
	}
	s = newTestScreen(40, 6, true, "TERM=xterm", "NO_COLOR=1")
	s.showPeerText([]byte("hi\n"))
	if got := s.record.String(); strings.Contains(got, "m") && strings.Contains(got, "\x1b[3") {
		t.Errorf("NO_COLOR is set, and there is colour: %q", got)
	}
}

// A newline in a name, a notice or an input line does not start a new line.
func TestScreenNoticeIsSafe(t *testing.T) {
	s := newTestScreen(40, 6, true)
	s.notice("the peer is \x1b[2J\x07")
	if strings.Contains(s.record.String(), "\x07") {
		t.Error("a notice rang the bell")
	}
}

// The screen ends up as if everything had been written in whole lines, with the input
// line below. The order of received pieces and typed keys does not matter.
func TestScreenProperty(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 4))
		columns, height := 8+r.IntN(20), 3+r.IntN(8)
		chat := r.IntN(2) == 0
		env := "NO_COLOR=" + []string{"", "1"}[r.IntN(2)]
		s := newTestScreen(columns, height, chat, env)
		var story []string
		var model []string // the expected screen, row by row
		line := func(label, text string) {
			indent := 0
			if chat {
				indent = min(len(label), columns/2)
			}
			model = append(model, wrap(label+text, columns, indent)...)
		}
		typing := ""
		for range r.IntN(30) {
			switch r.IntN(4) {
			case 0: // a line of the peer, in pieces
				text := word(r, columns*3)
				line(s.peer, text)
				for rest := text + "\n"; rest != ""; {
					n := 1 + r.IntN(len(rest))
					s.showPeerText([]byte(rest[:n]))
					rest = rest[n:]
					story = append(story, "receive")
					if r.IntN(3) == 0 { // typing continues meanwhile
						typing = retype(r, typing, columns)
						s.edit([]byte(typing))
					}
				}
			case 1, 2:
				typing = retype(r, typing, columns)
				s.edit([]byte(typing))
				story = append(story, fmt.Sprintf("type %q", typing))
			case 3:
				s.commitInput([]byte(typing + "\n"))
				line(s.own, typing)
				story = append(story, fmt.Sprintf("send %q", typing))
				typing = ""
			}
		}
		edit := wrap(s.own+typing, columns, 0)
		if len(s.own+typing) > max(height-2, 1)*columns-1 {
			continue // only a part is shown
		}
		want := append(model, edit...)
		for i := range want {
			want[i] = strings.TrimRight(want[i], " ")
		}
		for len(want) > 0 && want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		// An input line that was long has scrolled more text away than a short one
		// needs. The screen may therefore end earlier.
		got := s.rows()
		if len(got) < min(len(want), len(edit)) || len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Fatalf("seed %d, %dx%d, chat %v:\n%s\nshows\n\t%s\nwant\n\t%s", seed, columns, height, chat,
				strings.Join(story, "\n"), strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
}

// The output has only printing characters and the few used sequences, for any events
// and any screen size.
func FuzzScreen(f *testing.F) {
	f.Add("2hello\n1wor0ld\n3say\n4x5", uint8(20), uint8(5), uint8(1))
	f.Add("1\n\n00", uint8(20), uint8(5), uint8(1))
	f.Add("1日本語日本語\t1x2\x1b[2J\r", uint8(1), uint8(1), uint8(2))
	known := regexp.MustCompile(`\x1b\[([0-9]*[AC]|J|0?m|3[26]m)`)
	f.Fuzz(func(t *testing.T, story string, columns, rows, kind uint8) {
		env := []string{"TERM=xterm", "TERM=dumb", "NO_COLOR=1"}[kind%3]
		s := newTestScreen(int(columns)+1, int(rows)+1, kind&4 != 0, env)
		s.vt = nil
		for _, part := range strings.SplitAfter(story, "\n") {
			op, text := byte(0), []byte(part)
			if part != "" {
				op, text = part[0], []byte(part[1:])
			}
			switch op % 6 {
			case 0:
				s.showPeerText(text)
			case 1:
				s.edit(text)
			case 2:
				s.commitInput(text)
			case 3:
				s.notice(string(text))
			case 4:
				s.suspend()
				s.resume()
			case 5:
				width := len(text) + 1
				s.size = func() (int, int) { return width, int(rows) + 1 }
				s.resized()
			}
		}
		s.close()
		rest := known.ReplaceAllString(s.record.String(), "")
		for _, r := range rest {
			if r < ' ' && r != '\r' && r != '\n' && r != '\b' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Fatalf("wrote %q", s.record.String())
			}
		}
	})
}

func retype(r *rand.Rand, typing string, columns int) string {
	if r.IntN(4) == 0 {
		return typing[:r.IntN(len(typing)+1)]
	}
	return typing + word(r, columns)
}

func word(r *rand.Rand, most int) string {
	b := make([]byte, r.IntN(most))
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// wrap breaks text into rows.
func wrap(text string, columns, indent int) []string {
	var rows []string
	for len(text) > columns {
		rows = append(rows, text[:columns])
		text = strings.Repeat(" ", indent) + text[columns:]
	}
	return append(rows, text)
}

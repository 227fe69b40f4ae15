package echo

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// serveQuitWord echoes until the client's end or until it sends the word on a
// line of its own. Every byte has to be looked at, so nothing is spliced here.
func serveQuitWord(c *worker.Conn, word string) error {
	if strings.Contains(word, "\n") {
		return fmt.Errorf("setting %s is %q: a line can hold no line break", ipc.SettingQuitWord, word)
	}
	s := newScanner(word)
	// Bytes that were held back go in front of those just read, so that they
	// leave in one write and not as a segment of their own.
	room := len(s.pattern)
	buf := make([]byte, room+bufferSize)
	for {
		n, err := c.Read(buf[room:])
		if err == io.EOF {
			if _, err := c.Write(s.held()); err != nil {
				return err
			}
			return c.CloseWrite()
		}
		if err != nil {
			return err
		}
		held := s.held()
		before, now, quit := s.scan(buf[room : room+n])
		start := room - before
		copy(buf[start:room], held[:before])
		if _, err := c.Write(buf[start : room+now]); err != nil {
			return err
		}
		if quit {
			c.SetReason(ipc.ReasonQuitWord)
			return c.CloseWrite()
		}
	}
}

// A scanner finds the first line that is exactly the quit word in a stream
// that arrives in pieces. A line ends at "\n"; one "\r" before it does not
// belong to the line. The word followed by the end of the stream is no line,
// and ends nothing.
//
// The quit line is not echoed, so a line has to be held back while it could
// still become one. Held bytes are always the beginning of the word: their
// number is all the state there is, however long the lines are.
type scanner struct {
	pattern []byte // the word and "\r"
	matched int    // length of the beginning of pattern that the current line is; differs when it is neither
}

// differs is scanner.matched in a line that cannot become the quit line.
const differs = -1

func newScanner(word string) *scanner {
	return &scanner{pattern: append([]byte(word), '\r')}
}

// held is what was scanned and not released yet. It is valid for good; the
// caller does not change it.
func (s *scanner) held() []byte { return s.pattern[:max(s.matched, 0)] }

// scan takes the next piece of the stream. It releases to the client all of
// what was held (before is its length) or nothing of it (before is 0), then the
// first now bytes of p. When quit is true, the quit line ended within p and
// the rest of p is nobody's.
func (s *scanner) scan(p []byte) (before, now int, quit bool) {
	held := len(s.held())
	for at := 0; ; {
		// at is where the part of the current line that lies in p begins.
		n := s.match(p[at:])
		switch {
		case at+n == len(p) && s.matched != differs:
			// The line may still become the quit line: hold it.
		case s.matched != differs && p[at+n] == '\n' && s.matched >= len(s.pattern)-1:
			quit = true
		default:
			s.matched = differs
			end := bytes.IndexByte(p[at+n:], '\n')
			if end < 0 {
				return held, len(p), false
			}
			at += n + end + 1
			s.matched = 0
			before, now = held, at
			continue
		}
		return before, now, quit
	}
}

// match compares the bytes that continue the current line with the pattern,
// adds the equal ones to matched, and returns their number.
func (s *scanner) match(p []byte) int {
	if s.matched == differs {
		return 0
	}
	n := 0
	for n < len(p) && s.matched < len(s.pattern) && p[n] == s.pattern[s.matched] {
		n++
		s.matched++
	}
	return n
}

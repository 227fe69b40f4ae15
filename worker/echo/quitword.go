package echo

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
)

// serveQuitWord echoes until the client ends its side or sends the quit word on its own
// line. It must examine every byte, so it uses no splice.
func serveQuitWord(c *worker.Conn, word string) error {
	if strings.Contains(word, "\n") {
		return fmt.Errorf("setting %s is %q: a line can hold no line break", ipc.SettingQuitWord, word)
	}
	s := newScanner(word)
	// Held-back bytes are placed in front of the bytes just read. Both then leave in
	// one write and not in separate segments.
	room := len(s.pattern)
	buf := make([]byte, room+bufferSize)
	for {
		n, err := c.Read(buf[room:])
		if err == io.EOF {
			if _, err := c.Write(s.pending()); err != nil {
				return err
			}
			return c.CloseWrite()
		}
		if err != nil {
			return err
		}
		pending := s.pending()
		fromPending, fromInput, quit := s.scan(buf[room : room+n])
		start := room - fromPending
		copy(buf[start:room], pending[:fromPending])
		if _, err := c.Write(buf[start : room+fromInput]); err != nil {
			return err
		}
		if quit {
			c.SetReason(ipc.ReasonQuitWord)
			return c.CloseWrite()
		}
	}
}

// A scanner finds the first line that equals the quit word in a stream of pieces. A
// line ends at "\n". One "\r" before the "\n" does not belong to the line. The word
// followed by the end of the stream is not a line and ends nothing.
//
// The quit line is not echoed. A line must therefore be held back while it could still
// become the quit line. Held-back bytes are always a prefix of the word, so their
// number is the whole state, however long the lines are.
type scanner struct {
	pattern []byte // the quit word and "\r"
	matched int    // number of bytes of pattern that the current line equals, or noMatch
}

// noMatch is the value of scanner.matched for a line that cannot become the quit line.
const noMatch = -1

func newScanner(word string) *scanner {
	return &scanner{pattern: append([]byte(word), '\r')}
}

// pending returns the bytes that were scanned and are still held back. The slice stays
// valid. The caller must not change it.
func (s *scanner) pending() []byte { return s.pattern[:max(s.matched, 0)] }

// scan takes the next piece of the stream and decides what is sent to the client. First
// come fromPending held-back bytes: all of them or none. Then come the first fromInput
// bytes of p. When quit is true, the quit line ended within p, and the rest of p is
// discarded.
func (s *scanner) scan(p []byte) (fromPending, fromInput int, quit bool) {
	pending := len(s.pending())
	for lineStart := 0; ; {
		// lineStart is the start of the current line in p.
		n := s.match(p[lineStart:])
		switch {
		case lineStart+n == len(p) && s.matched != noMatch:
			// The line may still become the quit line, so it is held back.
		case s.matched != noMatch && p[lineStart+n] == '\n' && s.matched >= len(s.pattern)-1:
			quit = true
		default:
			s.matched = noMatch
			end := bytes.IndexByte(p[lineStart+n:], '\n')
			if end < 0 {
				return pending, len(p), false
			}
			lineStart += n + end + 1
			s.matched = 0
			fromPending, fromInput = pending, lineStart
			continue
		}
		return fromPending, fromInput, quit
	}
}

// match compares the next bytes of the current line with the pattern. It adds the
// number of equal bytes to matched and returns that number.
func (s *scanner) match(p []byte) int {
	if s.matched == noMatch {
		return 0
	}
	n := 0
	for n < len(p) && s.matched < len(s.pattern) && p[n] == s.pattern[s.matched] {
		n++
		s.matched++
	}
	return n
}

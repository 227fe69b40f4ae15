package stderr

import (
	"bytes"
	"strings"
	"time"
)

// The bounds of a Tail.
const (
	tailLines = 5
	tailBytes = 1024 // of all lines together
)

// A Tail remembers the last lines that were added. The zero Tail has none.
type Tail struct {
	lines []tailLine // the oldest first
	size  int        // bytes of all lines
}

type tailLine struct {
	text string
	at   time.Time
}

// Add adds a line that came at a given time. Of a line that is longer than the
// bound the beginning is kept. An empty line is not worth one of the few places.
func (t *Tail) Add(line []byte, at time.Time) {
	line = bytes.TrimSuffix(line[:min(len(line), tailBytes)], []byte("\r"))
	if len(line) == 0 {
		return
	}
	t.lines = append(t.lines, tailLine{string(line), at})
	t.size += len(line)
	for len(t.lines) > tailLines || t.size > tailBytes {
		t.size -= len(t.lines[0].text)
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
}

// Since returns the lines that came after a given time, with newlines between
// them, and "" for none.
func (t *Tail) Since(at time.Time) string {
	var found []string
	for _, line := range t.lines {
		if !line.at.Before(at) {
			found = append(found, line.text)
		}
	}
	return strings.Join(found, "\n")
}

package nspawn

import (
	"io"
	"strings"
	"sync"
)

// kept is how much of a console's output is kept for an error message.
const kept = 64 << 10

// A console keeps the end of what a machine writes and passes all of it on.
type console struct {
	mu   sync.Mutex // guards text, and calls to
	text []byte
	to   io.Writer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p...)
	if drop := len(c.text) - kept; drop > 0 {
		c.text = append(c.text[:0], c.text[drop:]...)
	}
	if c.to != nil {
		c.to.Write(p) // a log that cannot be written is no reason to stop a machine
	}
	return len(p), nil
}

// last returns the last lines, without what moves a terminal's cursor.
func (c *console) last(lines int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, string(c.text))
	all := strings.Split(strings.TrimSpace(clean), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

package systest

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// Deadline bounds every wait. Only a broken program reaches it, because it is
// longer on a slow machine.
func Deadline() time.Duration { return slowtest.Scale(time.Minute) }

// A log collects the lines of a master's stderr. mu guards all of it.
type log struct {
	mu        sync.Mutex
	lines     []Event
	malformed []string
	ended     bool
	changed   chan struct{} // closed and replaced with every line
	paused    chan struct{} // non-nil while nobody reads; closed to go on
}

func newLog() *log { return &log{changed: make(chan struct{})} }

// collect reads lines until the end of r, which it does not close.
func (l *log) collect(r io.Reader) {
	lines := bufio.NewReaderSize(gated{l, r}, 1<<16)
	for {
		line, err := lines.ReadString('\n')
		l.mu.Lock()
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			e, malformed := parseEvent(line)
			e.Index = len(l.lines)
			l.lines = append(l.lines, e)
			if malformed != nil {
				l.malformed = append(l.malformed, fmt.Sprintf("%q: %v", line, malformed))
			}
		}
		l.ended = err != nil
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// gated reads from r only while the log is not paused.
type gated struct {
	l *log
	r io.Reader
}

func (g gated) Read(p []byte) (int, error) {
	g.l.mu.Lock()
	paused := g.l.paused
	g.l.mu.Unlock()
	if paused != nil {
		<-paused
	}
	return g.r.Read(p)
}

func (l *log) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused == nil {
		l.paused = make(chan struct{})
	}
}

func (l *log) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
}

// find returns the events that match, and the channel that tells of more.
func (l *log) find(match func(Event) bool) (found []Event, changed <-chan struct{}, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.lines {
		if match(e) {
			found = append(found, e)
		}
	}
	return found, l.changed, l.ended
}

// wait waits for n events that match and returns all that do.
func (l *log) wait(t testing.TB, what string, n int, match func(Event) bool, exited <-chan struct{}) []Event {
	t.Helper()
	deadline := time.After(Deadline())
	var last <-chan time.Time // for what a master that has ended has written
	for {
		found, changed, ended := l.find(match)
		if len(found) >= n {
			return found
		}
		if ended {
			t.Fatalf("the log ended with %d of %d %s", len(found), n, what)
		}
		select {
		case <-changed:
		case <-exited:
			exited, last = nil, time.After(slowtest.Scale(5*time.Second))
		case <-last:
			t.Fatalf("the master ended with %d of %d %s in its log", len(found), n, what)
		case <-deadline:
			t.Fatalf("%d of %d %s after %v", len(found), n, what, Deadline())
		}
	}
}

// crashes begin the lines that a Go program writes when it crashes.
var crashes = []string{"panic: ", "fatal error: ", "runtime: failed", "runtime: unexpected", "runtime/cgo: "}

// isCrash reports whether a line is one of those.
func isCrash(line string) bool {
	return slices.ContainsFunc(crashes, func(begin string) bool { return strings.HasPrefix(line, begin) })
}

// String returns the log, without its middle when it is long, but for crashes.
func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const head, tail = 30, 120
	lines := make([]string, len(l.lines))
	for i, e := range l.lines {
		lines[i] = e.Line
	}
	if cut := len(lines) - head - tail; cut > 0 {
		crashed := slices.DeleteFunc(slices.Clone(lines[head:head+cut]), func(line string) bool { return !isCrash(line) })
		lines = slices.Replace(lines, head, head+cut, append(crashed, fmt.Sprintf("... %d lines ...", cut-len(crashed)))...)
	}
	return strings.Join(lines, "\n")
}

package logging

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// Lines that are no events stand between the events as they are, in their order.
// They wait for nobody, and those for which there is no room count as lost.
func TestRaw(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l, err := New(Options{Format: FormatJSON, Output: w})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	l.Info("before", zap.Int("n", 1))
	l.Raw([]byte("\x1bas it is\n"))
	l.Info("after")
	lines := bufio.NewReader(r)
	for _, want := range []string{`"before"`, "\x1bas it is\n", `"after"`} {
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Errorf("%q, %v; want %q", line, err, want)
		}
	}
	long := []byte(strings.Repeat("x", 1<<12) + "\n")
	for range 2 * queueLimit / len(long) {
		l.Raw(long) // nobody reads
	}
	if lost, at := l.Lost(); lost == 0 || time.Since(at) > time.Hour {
		t.Errorf("%d lines are lost, the last at %v", lost, at)
	}
	r.Close()
	if err := l.Close(time.Minute); err != nil {
		t.Error(err)
	}
}

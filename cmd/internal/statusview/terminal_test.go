package statusview

import (
	"os"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/windowtest"
)

func TestTerminalWidth(t *testing.T) {
	if got := TerminalWidth(windowtest.Open(t, 97, 30).Terminal()); got != 97 {
		t.Errorf("a terminal of 97 columns has %d", got)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if got := TerminalWidth(w); got != 0 {
		t.Errorf("a pipe has %d columns", got)
	}
}

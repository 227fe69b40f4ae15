package statusview

import (
	"os"
	"testing"

	"github.com/creack/pty"
)

func TestTerminalWidth(t *testing.T) {
	near, far, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	if err := pty.Setsize(near, &pty.Winsize{Cols: 97, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	if got := TerminalWidth(far); got != 97 {
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

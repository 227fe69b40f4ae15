package windowtest

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/sys/unix"
)

// A Window is a terminal with what it shows.
type Window struct {
	far  *os.File // which programs have
	near *os.File // which the user has

	mu     sync.Mutex
	screen vt10x.Terminal
	output strings.Builder // every byte of it
}

// Open returns a new window of a size in characters. It is closed when the test ends,
// after what the test cleans up that has opened it.
func Open(t testing.TB, columns, rows int) *Window {
	t.Helper()
	near, far, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	w := &Window{far: far, near: pollable(t, near), screen: vt10x.New(vt10x.WithSize(columns, rows))}
	w.Resize(t, columns, rows)
	var reading sync.WaitGroup
	reading.Go(w.read)
	t.Cleanup(func() {
		w.far.Close()
		w.near.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("shown: %q", w.Output())
		}
	})
	return w
}

// pollable returns the near side of a pseudo-terminal as a file whose Close ends a
// Read. It closes the one that it was given.
func pollable(t testing.TB, near *os.File) *os.File {
	t.Helper()
	defer near.Close()
	fd, err := unix.FcntlInt(near.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), near.Name())
}

// read shows what programs write, until the window is closed.
func (w *Window) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := w.near.Read(buffer)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.output.Write(buffer[:n])
		w.screen.Write(buffer[:n])
		w.mu.Unlock()
	}
}

// Terminal returns the side for programs. The window closes it.
func (w *Window) Terminal() *os.File { return w.far }

// HangUp takes the terminal away from the programs that have it.
func (w *Window) HangUp() { w.near.Close() }

// Resize gives the window another size.
func (w *Window) Resize(t testing.TB, columns, rows int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.screen.Resize(columns, rows)
	// By the far side: Fd would make the near one blocking.
	size := &unix.Winsize{Col: uint16(columns), Row: uint16(rows)}
	if err := unix.IoctlSetWinsize(int(w.far.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
}

// Modes returns the modes of the terminal, in a form to compare.
func (w *Window) Modes(t testing.TB) string {
	t.Helper()
	return w.stty(t, "-g")
}

// SetModes changes modes of the terminal, which are arguments of stty(1).
func (w *Window) SetModes(t testing.TB, modes ...string) {
	t.Helper()
	w.stty(t, modes...)
}

func (w *Window) stty(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("stty", args...)
	cmd.Stdin = w.far
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// Type presses keys.
func (w *Window) Type(t testing.TB, keys string) {
	t.Helper()
	if _, err := w.near.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// Output returns all that programs have written so far.
func (w *Window) Output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.output.String()
}

// Rows returns the rows of the screen, without blanks at their ends.
func (w *Window) Rows() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return RowsOf(w.screen)
}

// RowsOf returns the rows of a screen, without blanks at their ends.
func RowsOf(screen vt10x.Terminal) []string {
	columns, height := screen.Size()
	rows := make([]string, height)
	for y := range rows {
		var row strings.Builder
		for x := range columns {
			if c := screen.Cell(x, y).Char; c != 0 {
				row.WriteRune(c)
			} else {
				row.WriteByte(' ')
			}
		}
		rows[y] = strings.TrimRight(row.String(), " ")
	}
	return rows
}

// Text returns the rows of the screen, each with the end of a line.
func (w *Window) Text() string { return strings.Join(w.Rows(), "\n") + "\n" }

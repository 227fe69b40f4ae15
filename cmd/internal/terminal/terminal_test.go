package terminal_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A window is a terminal in which a shell runs preforkd. As for a user, the shell owns
// the terminal, so that the terminal stays when preforkd dies. The shell prints the
// exit code.
type window struct {
	shell    *exec.Cmd
	near     *os.File
	far      *os.File // open for stty
	before   string   // output of stty -g before preforkd started
	receiver int

	mu     sync.Mutex
	screen vt10x.Terminal
	record strings.Builder // every byte of the output
}

// newWindow creates a terminal of 80 columns and 24 rows.
func newWindow(t *testing.T) *window {
	t.Helper()
	near, far, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(near, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	w := &window{near: near, far: far, screen: vt10x.New(vt10x.WithSize(80, 24))}
	w.before = w.stty(t)
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := near.Read(buffer)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.record.Write(buffer[:n])
			w.screen.Write(buffer[:n])
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			w.mu.Lock()
			t.Logf("shown: %q", w.record.String())
			w.mu.Unlock()
		}
		far.Close()
		near.Close()
		reading.Wait()
	})
	return w
}

// open starts preforkd in a new window. It waits for the two processes, unless preforkd
// waits for a peer. Environment variables come as NAME=value before the arguments.
func open(t *testing.T, args ...string) *window {
	t.Helper()
	w := newWindow(t)
	w.start(t, args...)
	return w
}

func (w *window) start(t *testing.T, args ...string) {
	t.Helper()
	// With the traps, the shell survives Ctrl-C. Children do not inherit caught
	// signals. At the end the shell waits until the window closes.
	line := `trap : INT QUIT; "$0" "$@"; echo "[exit $?]"; while read -r line; do :; done`
	w.run(t, exec.Command("/bin/sh", "-c", line), args...)
	systest.Until(t, "the receiver", func() bool {
		for _, p := range systest.Children(w.shell.Process.Pid) {
			if systest.Executable(p.PID) == systest.Preforkd(t) {
				w.receiver = p.PID
			}
		}
		return w.receiver != 0 || strings.Contains(w.shown(), "[exit ") // it may have ended already
	}, nil)
}

// run starts a shell that owns the terminal.
func (w *window) run(t *testing.T, shell *exec.Cmd, args ...string) {
	t.Helper()
	env := environ(t)
	for len(args) > 0 && strings.Contains(args[0], "=") {
		env = append(env, args[0])
		args = args[1:]
	}
	if len(args) > 0 {
		shell.Args = append(append(shell.Args, systest.Preforkd(t)), args...)
	}
	shell.Env, shell.Stdin, shell.Stdout, shell.Stderr = env, w.far, w.far, w.far
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	w.shell = shell
	t.Cleanup(func() {
		for _, p := range systest.Children(shell.Process.Pid) {
			syscall.Kill(p.PID, syscall.SIGKILL)
		}
		shell.Process.Kill()
		shell.Wait()
	})
}

// stty returns the modes of the terminal.
func (w *window) stty(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("stty", "-g")
	cmd.Stdin = w.far
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// set changes the terminal's modes before preforkd starts in it.
func (w *window) set(t *testing.T, args ...string) {
	t.Helper()
	stty(t, w, args...)
	w.before = w.stty(t)
}

func stty(t *testing.T, w *window, args ...string) {
	t.Helper()
	cmd := exec.Command("stty", args...)
	cmd.Stdin = w.far
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// wantTerminal waits until the terminal has its original modes.
func (w *window) wantTerminal(t *testing.T) {
	t.Helper()
	systest.Until(t, "the terminal as before", func() bool { return w.stty(t) == w.before }, func() string { return w.stty(t) })
}

// sender waits until the second process exists.
func (w *window) sender(t *testing.T) int {
	t.Helper()
	return senderOf(t, w.receiver)
}

// editing waits until preforkd edits lines on the terminal.
func (w *window) editing(t *testing.T) {
	t.Helper()
	systest.Until(t, "a line editor", func() bool { return w.stty(t) != w.before }, w.shown)
}

// keys types text.
func (w *window) keys(t *testing.T, keys string) {
	t.Helper()
	if _, err := w.near.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// shown returns all output so far.
func (w *window) shown() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.record.String()
}

// waitShown waits until a text occurs in the output.
func (w *window) waitShown(t *testing.T, text string) {
	t.Helper()
	systest.Until(t, "shown: "+text, func() bool { return strings.Contains(w.shown(), text) }, w.shown)
}

// rows returns the current rows of the screen.
func (w *window) rows() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	columns, height := w.screen.Size()
	var rows []string
	for y := range height {
		var row strings.Builder
		for x := range columns {
			row.WriteRune(w.screen.Cell(x, y).Char)
		}
		rows = append(rows, strings.TrimRight(row.String(), " \x00"))
	}
	for len(rows) > 0 && rows[len(rows)-1] == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// waitRows waits until the last rows of the screen are these.
func (w *window) waitRows(t *testing.T, want ...string) {
	t.Helper()
	systest.Until(t, "on the screen:\n"+strings.Join(want, "\n"), func() bool {
		rows := w.rows()
		return len(rows) >= len(want) && slices.Equal(rows[len(rows)-len(want):], want)
	}, func() string { return "\n" + strings.Join(w.rows(), "\n") })
}

// wantExit waits until the shell prints preforkd's exit code. It checks that both
// processes have ended and that the terminal has its original modes.
func (w *window) wantExit(t *testing.T, code string) {
	t.Helper()
	w.waitShown(t, "[exit ")
	w.waitShown(t, "[exit "+code+"]")
	w.wantTerminal(t)
	if children := systest.Children(w.shell.Process.Pid); len(children) > 0 {
		t.Errorf("left behind: %+v", children)
	}
}

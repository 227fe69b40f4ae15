package terminal_test

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/cmd/internal/windowtest"
)

// A window is a terminal in which a shell runs preforkd. As for a user, the shell owns
// the terminal, so that the terminal stays when preforkd dies. The shell prints the
// exit code.
type window struct {
	*windowtest.Window
	shell    *exec.Cmd
	before   string // modes of the terminal before preforkd started
	receiver int
}

// newWindow creates a terminal of 80 columns and 24 rows.
func newWindow(t *testing.T) *window {
	t.Helper()
	w := &window{Window: windowtest.Open(t, 80, 24)}
	w.before = w.Modes(t)
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
		return w.receiver != 0 || strings.Contains(w.Output(), "[exit ") // it may have ended already
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
	shell.Env, shell.Stdin, shell.Stdout, shell.Stderr = env, w.Terminal(), w.Terminal(), w.Terminal()
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

// set changes the terminal's modes before preforkd starts in it.
func (w *window) set(t *testing.T, args ...string) {
	t.Helper()
	w.SetModes(t, args...)
	w.before = w.Modes(t)
}

// wantTerminal waits until the terminal has its original modes.
func (w *window) wantTerminal(t *testing.T) {
	t.Helper()
	systest.Until(t, "the terminal as before", func() bool { return w.Modes(t) == w.before }, func() string { return w.Modes(t) })
}

// sender waits until the second process exists.
func (w *window) sender(t *testing.T) int {
	t.Helper()
	return senderOf(t, w.receiver)
}

// editing waits until preforkd edits lines on the terminal.
func (w *window) editing(t *testing.T) {
	t.Helper()
	systest.Until(t, "a line editor", func() bool { return w.Modes(t) != w.before }, w.Output)
}

// waitShown waits until a text occurs in the output.
func (w *window) waitShown(t *testing.T, text string) {
	t.Helper()
	systest.Until(t, "shown: "+text, func() bool { return strings.Contains(w.Output(), text) }, w.Output)
}

// rows returns the rows of the screen down to the last one that shows anything.
func (w *window) rows() []string {
	rows := w.Rows()
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

package windowtest

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A program sees what is typed and the size, and its output is on the screen.
func TestWindow(t *testing.T) {
	w := Open(t, 20, 3)
	before := w.Modes(t)
	cmd := exec.Command("sh", "-c", `read -r line; stty size; printf 'got %s\033[1;1Htop' "$line"; read -r line`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = w.Terminal(), w.Terminal(), w.Terminal()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.Resize(t, 30, 4)
	w.Type(t, "one\n")
	want := []string{"top", "4 30", "got one", ""}
	slowtest.Await(t, "the screen has what was written", func() bool { return slices.Equal(w.Rows(), want) })
	if got := w.Text(); got != "top\n4 30\ngot one\n\n" {
		t.Errorf("the text is %q", got)
	}
	if got := w.Output(); got != "one\r\n4 30\r\ngot one\x1b[1;1Htop" {
		t.Errorf("the output is %q", got)
	}
	w.SetModes(t, "-echo")
	if w.Modes(t) == before {
		t.Error("the modes are as before")
	}
	w.SetModes(t, "echo")
	if after := w.Modes(t); after != before {
		t.Errorf("the modes were %s and are %s", before, after)
	}
	w.HangUp()
	if err := cmd.Wait(); err == nil {
		t.Error("the program has ended of itself, and not by the hang-up")
	}
}

package top

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/cmd/internal/windowtest"
	"github.com/preforkd/preforkd/master/control"
)

// A terminalWindow is a window in which top runs.
type terminalWindow struct {
	*windowtest.Window
	t      *testing.T
	path   string // file with the status
	before string // modes of the terminal before top started
	cmd    *exec.Cmd
	stderr strings.Builder
	ended  chan error
}

func open(t *testing.T, columns, rows int, env ...string) *terminalWindow {
	t.Helper()
	w := &terminalWindow{
		Window: windowtest.Open(t, columns, rows),
		t:      t, path: filepath.Join(t.TempDir(), "status"), ended: make(chan error, 1),
	}
	w.before = w.Modes(t)
	w.write(statusAt(60))
	w.cmd = exec.Command(os.Args[0])
	w.cmd.Env = append(os.Environ(), append([]string{"TERM=xterm-256color", "NO_COLOR=", "GORACE=atexit_sleep_ms=0", envStatusFile + "=" + w.path}, env...)...)
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = w.Terminal(), w.Terminal(), &w.stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		w.ended <- w.cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		w.cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("stderr: %s", w.stderr.String())
		}
	})
	return w
}

// write replaces the master's status. top never reads a part of it.
func (w *terminalWindow) write(s control.Status) {
	w.t.Helper()
	text, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(w.path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(w.path+".new", w.path)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *terminalWindow) press(keys string) {
	w.t.Helper()
	w.Type(w.t, keys)
}

func (w *terminalWindow) waitFor(what string, pattern string) {
	w.t.Helper()
	expression := regexp.MustCompile(pattern)
	systest.Until(w.t, what, func() bool { return expression.MatchString(w.Text()) }, w.Text)
}

// golden waits until the terminal shows the frame of that name. The output arrives in
// parts, after other frames.
func (w *terminalWindow) golden(name string) {
	w.t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		w.t.Fatal(err)
	}
	systest.Until(w.t, "the frame "+name, func() bool { return w.Text() == string(want) }, func() string {
		return "(-want +got):\n" + cmp.Diff(string(want), w.Text())
	})
}

// expectEnd waits until top has ended, and checks that the terminal is as before.
func (w *terminalWindow) expectEnd() {
	w.t.Helper()
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("it ended with %v", err)
		}
	case <-time.After(systest.Deadline()):
		w.t.Fatal("it does not end")
	}
	if after := w.Modes(w.t); after != w.before {
		w.t.Errorf("the terminal was\n%sand is\n%s", w.before, after)
	}
	// The reader may not have read everything yet.
	systest.Until(w.t, "the screen from before and a cursor", func() bool {
		output := w.Output()
		return strings.LastIndex(output, "\x1b[?1049l") > strings.LastIndex(output, "\x1b[?1049h") &&
			strings.LastIndex(output, "\x1b[?25h") > strings.LastIndex(output, "\x1b[?25l")
	}, nil)
}

const up, down, escape = "\x1b[A", "\x1b[B", "\x1b"

// The terminal shows exactly the frame, cell by cell.
func TestScreenshot(t *testing.T) {
	w := open(t, 120, 24)
	w.golden("first")
	w.write(statusAt(62))
	w.golden("second")
	w.press(down + down)
	w.golden("chosen")
	w.press("K")
	w.golden("question")
	w.press("n")
	w.waitFor("no question", `nothing was sent`)
	w.press("q")
	w.expectEnd()
}

func TestKeys(t *testing.T) {
	w := open(t, 100, 30)
	w.waitFor("connections", `12 of 12 connections by cpu\n`)
	w.press("p")
	w.waitFor("order by peer", `by peer\n.*\n> mwpr0gd0-12 `)
	w.press("r")
	w.waitFor("reversed order", `by peer, reversed\n.*\n> mwpr0gd0-1 `)
	w.press("s")
	w.waitFor("focus", `8 of 12 connections by peer, reversed, service echo`)
	w.press("ss/40007")
	w.waitFor("filter", `(?s)1 of 12.*filter: 40007_`)
	w.press("\rk")
	w.waitFor("question", `send SIGTERM to connection mwpr0gd0-8 \(pid 5007`)
	w.press("y")
	w.waitFor("notice", `sent SIGTERM to connection mwpr0gd0-8`)
	killed, err := os.ReadFile(w.path + ".killed")
	if err != nil || string(killed) != "mwpr0gd0-8 TERM" {
		t.Errorf("killed: %q, %v", killed, err)
	}
	w.press(escape)
	w.waitFor("all connections", `12 of 12`)
	w.press(" ")
	w.waitFor("pause", `PAUSED`)
	w.write(statusAt(63))
	w.press(" ")
	w.waitFor("resumption", `up 1m03s\n`)
	w.press("\x03")
	w.expectEnd()
}

func TestResize(t *testing.T) {
	w := open(t, 120, 24)
	w.waitFor("wide tables", `LISTENERS`)
	w.Resize(t, 60, 12)
	w.waitFor("narrow tables", `(?s)^preforkd 1.4.0   serving   pid 4711   up 1m00s\n.*SERVICE  STATE     LIVE  ACCEPTED  REFUSED  FAILED   QUEUE\n`)
	w.Resize(t, 120, 24)
	w.golden("first")
	w.press("q")
	w.expectEnd()
}

func TestMasterRestarts(t *testing.T) {
	w := open(t, 100, 30)
	w.waitFor("connections", `mwpr0gd0-1 `)
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.waitFor("word of its absence", `(?s)NO ANSWER since.*no\s+such\s+file.*mwpr0gd0-1 `)
	another := statusAt(5)
	another.Master.PID = 4712
	w.write(another)
	w.waitFor("the new master", `(?s)^preforkd 1.4.0   serving   pid 4712.*5 of 5 connections`)
	w.press("q")
	w.expectEnd()
}

func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			w := open(t, 80, 24)
			w.waitFor("connections", `mwpr0gd0-1 `)
			w.cmd.Process.Signal(s)
			w.expectEnd()
		})
	}
}

// Top also ends when its terminal is closed.
func TestHangup(t *testing.T) {
	w := open(t, 80, 24)
	w.waitFor("connections", `mwpr0gd0-1 `)
	w.HangUp()
	select {
	case err := <-w.ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	case <-time.After(systest.Deadline()):
		t.Fatal("it does not end")
	}
	if strings.Contains(w.stderr.String(), "DATA RACE") {
		t.Error("a data race")
	}
}

// Top uses no colours, whatever NO_COLOR says.
func TestWithoutColour(t *testing.T) {
	for _, env := range []string{"NO_COLOR=", "NO_COLOR=1"} {
		w := open(t, 80, 24, env)
		w.waitFor("connections", `mwpr0gd0-1 `)
		w.press("qq")
		w.expectEnd()
		if found := regexp.MustCompile(`\x1b\[[0-9;]*\b[349][0-7][;m]`).FindString(w.Output()); found != "" {
			t.Errorf("%s: %q", env, found)
		}
	}
}

func TestDumbTerminal(t *testing.T) {
	for _, kind := range []string{"dumb", ""} {
		w := open(t, 80, 24, "TERM="+kind)
		err := <-w.ended
		if err == nil || w.Output() != "" {
			t.Errorf("TERM=%q: ended with %v, shown: %q", kind, err, w.Output())
		}
		if text := w.stderr.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "preforkd status") {
			t.Errorf("TERM=%q: it says %q", kind, text)
		}
		if after := w.Modes(t); after != w.before {
			t.Errorf("TERM=%q: the terminal was changed", kind)
		}
	}
}

func TestNoTerminal(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TERM=xterm", envStatusFile+"=x")
	out, err := cmd.CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "needs a terminal") {
		t.Errorf("it ended with %v and says %q", err, out)
	}
}

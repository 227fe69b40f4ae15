package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A terminalSession is a shell with job control at a terminal.
type terminalSession struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	seen bytes.Buffer // what expect has not found yet
	all  bytes.Buffer
}

// atTerminal runs a script of sh, in which $0 is preforkd and $1 a configuration,
// as the leader of a terminal's session. Lines that it prints are waited for.
func atTerminal(t *testing.T, script string) *terminalSession {
	t.Helper()
	return atTerminalOf(t, 132, script)
}

// atTerminalOf is atTerminal with a terminal of as many columns.
func atTerminalOf(t *testing.T, columns uint16, script string) *terminalSession {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script, systest.Preforkd(t), boxFile(t))
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir())
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	s := &terminalSession{t: t, cmd: cmd, tty: tty}
	t.Cleanup(func() {
		// The session gets SIGHUP when its terminal is gone.
		tty.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return s
}

// expect waits for a text that was not seen before.
func (s *terminalSession) expect(text string) {
	s.t.Helper()
	_ = s.tty.SetReadDeadline(time.Now().Add(systest.Deadline()))
	buf := make([]byte, 256)
	for {
		if _, after, found := bytes.Cut(s.seen.Bytes(), []byte(text)); found {
			rest := bytes.Clone(after)
			s.seen.Reset()
			s.seen.Write(rest)
			return
		}
		n, err := s.tty.Read(buf)
		s.seen.Write(buf[:n])
		s.all.Write(buf[:n])
		if err != nil && !bytes.Contains(s.seen.Bytes(), []byte(text)) {
			s.t.Fatalf("%q did not come: %v; seen %q", text, err, s.seen.String())
		}
	}
}

func (s *terminalSession) write(text string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}
